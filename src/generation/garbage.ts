// What on the disk nobody needs any more: pure. The effects are in src/agent/gc.ts. What is not known is kept: where it
// cannot be said what a generation that counts needs, nothing of the store goes.
import type { Digest } from "../oci/digest.ts";
import { type IdMaps, rangeLength } from "../services/idmap.ts";

/** What a generation needs to run. */
export interface Needs {
  /** Image manifests, configurations and layers. */
  readonly blobs: ReadonlySet<Digest>;
  readonly groups: ReadonlySet<string>;
  /** Labels of volumes in memory. */
  readonly volumes: ReadonlySet<string>;
  readonly networks: ReadonlySet<string>;
}

export interface StoredGeneration {
  readonly number: number;
  readonly bytes: number;
  /** Undefined when its manifests or the documents of its images cannot be read. */
  readonly needs: Needs | undefined;
}

/** Something with a name that takes room. */
export interface Sized<Name> {
  readonly name: Name;
  /** That the disk gets back. */
  readonly bytes: number;
}

/** Everything that the plan is made from. */
export interface StateOnDisk {
  readonly generations: readonly StoredGeneration[];
  /** Current, previous, and both sides of a transaction under way. */
  readonly pinned: ReadonlySet<number>;
  /** Generations whose trial failed. */
  readonly failed: ReadonlySet<number>;
  readonly blobs: readonly Sized<Digest>[];
  /** Temporary and partial files, and generations that were being removed. */
  readonly leftovers: readonly Sized<string>[];
  /** Volumes in memory, by label. */
  readonly volumes: readonly string[];
  /** Networks that podman has and mos made. */
  readonly networks: readonly string[];
  /** Volumes and networks of which there is a unit. */
  readonly live: { readonly volumes: ReadonlySet<string>; readonly networks: ReadonlySet<string> };
  readonly idmaps: IdMaps;
  /** Owners (uid on the host) of all persistent volumes, whoever uses them now. */
  readonly volumeOwners: readonly number[];
}

/** Why a generation goes. */
type Why = "old" | "failed" | "damaged";

export interface GarbagePlan {
  readonly kept: readonly number[];
  readonly generations: readonly (Sized<number> & { readonly why: Why })[];
  readonly blobs: readonly Sized<Digest>[];
  readonly leftovers: readonly Sized<string>[];
  readonly volumes: readonly string[];
  readonly networks: readonly string[];
  /** Groups whose uid range is given back. */
  readonly groups: readonly string[];
  /** The generation that counts and cannot be read: only leftovers go then. */
  readonly blockedBy: number | undefined;
}

/** Generations that are kept beside the current, the previous and the one on trial. */
export const keptOthers = 3;

interface Verdicts {
  /** Generations that can run again. */
  readonly kept: readonly StoredGeneration[];
  readonly going: ReadonlyMap<StoredGeneration, Why>;
}

function judge({ generations, pinned, failed }: StateOnDisk, others: number): Verdicts {
  const kept: StoredGeneration[] = [];
  const going = new Map<StoredGeneration, Why>();
  let room = others;
  for (const generation of generations.toSorted((a, b) => b.number - a.number)) {
    if (pinned.has(generation.number)) kept.push(generation);
    else if (failed.has(generation.number)) going.set(generation, "failed");
    else if (generation.needs === undefined) going.set(generation, "damaged");
    else if (room === 0) going.set(generation, "old");
    else {
      room--;
      kept.push(generation);
    }
  }
  return { kept: kept.reverse(), going };
}

/** Groups with a range that nobody's files have and no kept generation names. */
function unusedGroups({ idmaps, volumeOwners }: StateOnDisk, needed: ReadonlySet<string>): string[] {
  const owns = (first: number) => volumeOwners.some((uid) => uid >= first && uid < first + rangeLength);
  return [...idmaps].flatMap(([group, first]) => (needed.has(group) || owns(first) ? [] : [group]));
}

function union<T>(sets: readonly ReadonlySet<T>[]): ReadonlySet<T> {
  return new Set(sets.flatMap((set) => [...set]));
}

/**
 * Plans what goes. A persistent volume is never part of it.
 * @param others how many generations stay beside those that are pinned; those that failed do not
 */
export function planGarbage(disk: StateOnDisk, others: number = keptOthers): GarbagePlan {
  const { kept, going } = judge(disk, others);
  const { leftovers } = disk;
  const needs = kept.flatMap((generation) => generation.needs ?? []);
  const unknown = kept.find((generation) => generation.needs === undefined);
  if (unknown !== undefined) {
    return {
      kept: disk.generations.map(({ number }) => number),
      ...{ generations: [], blobs: [], leftovers, volumes: [], networks: [], groups: [] },
      blockedBy: unknown.number,
    };
  }
  const wanted = union(needs.map(({ blobs }) => blobs));
  const volumes = union([...needs.map((one) => one.volumes), disk.live.volumes]);
  const networks = union([...needs.map((one) => one.networks), disk.live.networks]);
  // The directory of the highest number stays whatever it is, so that no number is ever given twice.
  const highest = Math.max(0, ...disk.generations.map(({ number }) => number));
  const removed = [...going]
    .filter(([{ number }]) => number !== highest)
    .map(([{ number, bytes }, why]) => ({ name: number, bytes, why }));
  const gone = new Set(removed.map(({ name }) => name));
  return {
    kept: disk.generations.map(({ number }) => number).filter((number) => !gone.has(number)),
    generations: removed.sort((a, b) => a.name - b.name),
    blobs: disk.blobs.filter(({ name }) => !wanted.has(name)),
    leftovers,
    volumes: disk.volumes.filter((label) => !volumes.has(label)),
    networks: disk.networks.filter((name) => !networks.has(name)),
    groups: unusedGroups(disk, union(needs.map(({ groups }) => groups))),
    blockedBy: undefined,
  };
}
