// Merging the levels of a set that are for this device, and bringing what they come to to its destination, by the same
// transaction as any set.
import { createHash, type KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { MosError } from "../errors/mos-error.ts";
import { makeDirectory, removeWhole } from "../system/atomic-file.ts";
import type { Activation } from "./activation.ts";
import { type LevelIdentity, rankOf } from "./audience.ts";
import { bring, type InstalledSet, pathsOf, type SetPlaces } from "./bring.ts";
import { keepTree } from "./keep-tree.ts";
import { type Ledger, type Level, readJournals, readLedgers, writeLedger } from "./ledger.ts";
import { levelName } from "./level-name.ts";
import { mergeLevels, providedBy, type RankedLevel } from "./merge-levels.ts";
import { type LevelPlaces, namesIn, type ReadLevel } from "./read-levels.ts";
import { checkTree } from "./read-set.ts";
import { refuseMove, refuseTaken } from "./set-checks.ts";
import { type SetManifest, writeSetManifest } from "./set-manifest.ts";
import { stage } from "./stage.ts";

/** What sets in levels need of a device. */
export interface LevelDevice {
  readonly places: SetPlaces & LevelPlaces;
  readonly keys: readonly KeyObject[];
  readonly identity: LevelIdentity;
}

/** A level that is for this device. */
type OwnLevel = ReadLevel & RankedLevel;

export interface LevelOptions {
  /** Paths of what was installed that may go; all of them without it. */
  readonly removable?: ReadonlySet<string>;
  readonly force: boolean;
  readonly activation?: Activation | undefined;
}

function ownLevels(levels: readonly ReadLevel[], identity: LevelIdentity): readonly OwnLevel[] {
  return levels.flatMap((level) => {
    const rank = rankOf(level.audience, identity);
    return rank === undefined ? [] : [{ ...level, rank, entries: level.manifest.entries }];
  });
}

/** What is remembered of the levels from now on. */
function levelsOf(
  own: readonly OwnLevel[],
  known: readonly Level[],
  paths: (level: OwnLevel) => readonly string[],
): Level[] {
  const before = new Map(known.map((level) => [levelName(level.for), level]));
  const now = own.map((level): Level => {
    const { counts: _, ...rest } = before.get(levelName(level.audience)) ?? { for: level.audience };
    return {
      ...rest,
      counts: { serial: level.manifest.serial, manifest: level.digest, source: level.source },
      paths: [...paths(level)],
    };
  });
  const names = new Set(now.map((level) => levelName(level.for)));
  const others = known.flatMap(({ counts: _, ...level }): Level[] => {
    const isRemembered = level.kept !== undefined || level.newest !== undefined;
    return isRemembered && !names.has(levelName(level.for)) ? [{ ...level, paths: [] }] : [];
  });
  return [...now, ...others].sort((a, b) => (levelName(a.for) < levelName(b.for) ? -1 : 1));
}

/** The one directory that all levels are for. @throws MosError `set-conflict` */
function destinationOf(
  name: string,
  own: readonly OwnLevel[],
  known: Ledger | undefined,
): string | undefined {
  const [first, ...rest] = own;
  const other = rest.find(({ manifest }) => manifest.destination !== first?.manifest.destination);
  if (first !== undefined && other !== undefined) {
    const [one, two] = [first, other].map(
      ({ audience, manifest }) => `${manifest.destination} (${levelName(audience)})`,
    );
    throw new MosError(
      "set-conflict",
      `cannot merge the levels of set ${name}: they are for ${one} and ${two}`,
      {
        about: name,
      },
    );
  }
  return first?.manifest.destination ?? known?.destination;
}

/**
 * Names of what is kept, and of what a power cut left of it (keep-tree.ts). Nothing else is removed: whoever can change the
 * state's disk may have put a link to another directory there.
 */
const keptName = /^(?:[0-9a-f]{128}|[.][0-9a-f]{128}[.]new)$/;

/** Drops what no ledger has any more. */
export async function tidy({ state, kept }: SetPlaces & LevelPlaces): Promise<void> {
  const names = (await namesIn(kept)).filter((name) => keptName.test(name));
  if (names.length === 0) return;
  const ledgers = [...(await readLedgers(state)), ...(await readJournals(state)).map(({ ledger }) => ledger)];
  const needed = new Set(
    ledgers.flatMap(({ levels = [] }) =>
      levels.flatMap(({ kept: one, counts }) => [one?.manifest, counts?.manifest]),
    ),
  );
  for (const name of names) if (!needed.has(name)) await removeWhole(join(kept, name));
}

/** Keeps the list of a level that the image brings: another image may not have it, and it says what it has installed. */
async function keepList({ kept }: LevelPlaces, { source, tree, digest }: ReadLevel): Promise<void> {
  const path = join(kept, digest);
  if (source === "image" && !existsSync(path)) await keepTree(tree, path, []);
}

/** A set in levels, as it is to be. */
interface Family {
  readonly name: string;
  readonly known: Ledger | undefined;
  /** What is remembered of its levels, with what changes now. */
  readonly remembered: readonly Level[];
  /** Every level that is on the device. */
  readonly found: readonly ReadLevel[];
}

/** Brings the merge of the levels to its destination. @returns undefined where none is for this device, nor was */
export async function bringMerged(
  { places, identity }: LevelDevice,
  { name, known, remembered, found }: Family,
  { force, activation, removable }: LevelOptions,
): Promise<InstalledSet | undefined> {
  const own = ownLevels(found, identity);
  const destination = destinationOf(name, own, known);
  if (destination === undefined || (own.length === 0 && known === undefined)) return undefined;
  for (const { tree, manifest } of own) await checkTree(tree, manifest);
  const merged = mergeLevels(own);
  const serial = Math.max(known?.serial ?? 1, ...own.map((level) => level.manifest.serial));
  const entries = merged.map(({ entry }) => entry);
  const manifest: SetManifest = { type: "mos.signed-set", version: 1, name, serial, destination, entries };
  if (known !== undefined) refuseMove(manifest, known);
  refuseTaken(
    (await readLedgers(places.state)).filter((one) => one.name !== name),
    manifest,
  );
  const digest = createHash("sha512").update(writeSetManifest(manifest)).digest("hex");
  const provided = new Map(own.map((level) => [level.digest, providedBy(merged, level)]));
  const levels = levelsOf(own, remembered, (level) => provided.get(level.digest) ?? []);
  const ledger: Ledger = { version: 1, name, serial, manifest: digest, destination, entries, levels };
  const trees = new Map(merged.map(({ entry, level }) => [entry.path, level.tree]));
  const source = {
    name: `set ${name}`,
    of: (path: string): string => join(trees.get(path) ?? "/nonexistent", path),
  };
  const owned = (known?.entries ?? []).filter(({ path }) => removable?.has(path) ?? true);
  // That it is there says that there are sets in levels, to a boot without any in its image.
  await makeDirectory(places.kept, 0o700);
  for (const level of own) await keepList(places, level);
  const steps = await bring(places, {
    ...{ ledger, owned, force, activation },
    prepare: (at, planned) => stage(source, at, entries, planned),
  });
  if (steps.length === 0 && !isDeepStrictEqual(ledger, known)) await writeLedger(places.state, ledger);
  const isKnown = known?.manifest === digest;
  const outcome = isKnown ? (steps.length === 0 ? "unchanged" : "repaired") : "installed";
  const written = pathsOf(steps, ["create", "replace", "mkdir", "change"]);
  return { outcome, name, serial, destination, written, removed: pathsOf(steps, ["remove", "rmdir"]) };
}

/** @throws MosError `set-conflict` when a set of this name is there that is in no levels */
export function refuseUnlevelled(name: string, known: Ledger | undefined): void {
  if (known === undefined || known.levels !== undefined) return;
  const hint = `mosctl set remove ${name} removes what is there; the levels then take a name that was never used.`;
  throw new MosError(
    "set-conflict",
    `cannot use set ${name} in levels: one of this name was installed without`,
    {
      about: name,
      hint,
    },
  );
}
