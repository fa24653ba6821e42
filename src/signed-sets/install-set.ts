// Installing a signed set, all or nothing: everything is verified and lies beside its place before the first name
// changes; then a journal says what is left to do, so that whoever comes next can go on, or back.
import { createHash, type KeyObject } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { createDirectory } from "../system/durable.ts";
import type { Activation } from "./activation.ts";
import { clearStage } from "./apply.ts";
import { bring, type InstalledSet, locked, pathsOf, type SetPlaces, settle } from "./bring.ts";
import type { Destination } from "./destination.ts";
import { type Ledger, readLedgers, writeLedger } from "./ledger.ts";
import { checkTree, readSignedSet } from "./read-set.ts";
import {
  checkCarried,
  ledgerOf,
  refuseMove,
  refuseOlder,
  refuseTaken,
  refuseTakenBack,
} from "./set-checks.ts";
import { type SetManifest, writeSetManifest } from "./set-manifest.ts";
import { sourceIn, stage } from "./stage.ts";
import type { Step } from "./steps.ts";

/**
 * @param options `leaveReadOnly`: leave alone what is on a file system that cannot be written now, as in an initrd
 * @returns names of sets whose installation was interrupted, and is done or undone now
 */
export async function recoverSets(
  places: SetPlaces,
  { leaveReadOnly = false }: { readonly leaveReadOnly?: boolean } = {},
): Promise<readonly string[]> {
  return await locked(places, "recovery of signed sets", () => settle(places, leaveReadOnly));
}

export interface InstallSetOptions {
  readonly force: boolean;
  readonly activation?: Activation | undefined;
  /** What a set needs besides its files. */
  readonly needs?: SetNeeds;
  /** It is a version that was kept: it may be older than the one that runs, and its images are not with it. */
  readonly kept?: boolean;
  /** Its list, where that was made on this device of something else that is signed. */
  readonly list?: SetManifest;
  /** Nobody has asked for this very one. */
  readonly unattended?: boolean;
}

/** What comes along with a set, in the same transaction. */
export interface SetNeeds {
  /** Before anything is changed that anybody could notice; everything of the set is verified. */
  readonly prepare: (tree: string, manifest: SetManifest, known: Ledger | undefined) => Promise<void>;
  /** When it is over, whatever way: what nobody needs any more can go. */
  readonly tidy: () => Promise<void>;
}

function madeHere(manifest: SetManifest): Awaited<ReturnType<typeof readSignedSet>> {
  return { manifest, digest: createHash("sha512").update(writeSetManifest(manifest)).digest("hex") };
}

/** What is in levels goes another way (levels.ts). @throws MosError `set-invalid`, `set-conflict` */
function refuseLevels(
  { name, for: audience }: Pick<SetManifest, "name" | "for">,
  known: Ledger | undefined,
): void {
  if (audience !== undefined) {
    throw new MosError("set-invalid", `cannot install ${name}: it is one level of a set`, { about: name });
  }
  if (known?.levels !== undefined) {
    const why = "a set of this name is there in levels, and this one does not say for whom it is";
    throw new MosError("set-conflict", `cannot install set ${name}: ${why}`, { about: name });
  }
}

/**
 * Installs a set.
 * @param tree directory of the set
 * @param options `force`: replace files that belong to no set; `activation`: start the units of the set, and take it
 * back when they do not run
 * @throws MosError `signed-file-invalid`, `set-invalid`, `set-mixed`, `set-older`, `set-conflict`,
 * `signed-destination-unsafe`, `set-unhealthy`, or the system's error; the destination is then as it was
 */
export async function installSet(
  places: SetPlaces,
  tree: string,
  keys: readonly KeyObject[],
  { force, activation, needs, kept = false, list, unattended = false }: InstallSetOptions,
): Promise<InstalledSet> {
  return await locked(places, `installation of ${tree}`, async () => {
    await settle(places);
    const { manifest, digest } = list === undefined ? await readSignedSet(tree, keys) : madeHere(list);
    const { name, serial, destination, entries } = manifest;
    const ledgers = await readLedgers(places.state);
    const known = ledgers.find((ledger) => ledger.name === name);
    refuseLevels(manifest, known);
    if (manifest.app !== undefined && needs === undefined) {
      const hint = "mosctl app install takes it, with its images.";
      throw new MosError("set-invalid", `cannot install ${name}: it is an app`, { about: name, hint });
    }
    if (known !== undefined) {
      if (!kept) refuseOlder(manifest, digest, known);
      if (unattended) refuseTakenBack(manifest, digest, known);
      refuseMove(manifest, known);
    }
    const others = ledgers.filter((ledger) => ledger !== known);
    refuseTaken(others, manifest);
    await checkTree(tree, manifest, !kept);
    if (!kept) checkCarried(tree, manifest);
    await using _ = { [Symbol.asyncDispose]: async () => await needs?.tidy() };
    await needs?.prepare(tree, manifest, known);
    const ledger = ledgerOf(manifest, digest, known);
    const change = {
      ...{ ledger, owned: known?.entries ?? [], force, activation },
      prepare: (at: Destination, planned: readonly Step[]) => stage(sourceIn(tree), at, entries, planned),
    };
    const steps = await bring(places, change).catch(async (error: unknown) => {
      const isUnhealthy = error instanceof MosError && error.code === "set-unhealthy";
      if (isUnhealthy && known !== undefined && digest !== known.manifest) {
        await writeLedger(places.state, { ...known, failed: { serial, manifest: digest } });
      }
      throw error;
    });
    const isKnown = known?.manifest === digest && known.entries.length === entries.length;
    if (steps.length === 0 && !isKnown) await writeLedger(places.state, ledger);
    const outcome = isKnown ? (steps.length === 0 ? "unchanged" : "repaired") : "installed";
    const written = pathsOf(steps, ["create", "replace", "mkdir", "change"]);
    return { outcome, name, serial, destination, written, removed: pathsOf(steps, ["remove", "rmdir"]) };
  });
}

/**
 * Removes what belongs to a set. Its serial stays known: an older one cannot come back.
 * @throws MosError `not-found` when it was never installed
 */
export async function removeSet(
  places: SetPlaces,
  name: string,
  activation?: Activation,
  needs?: Pick<SetNeeds, "tidy">,
): Promise<InstalledSet> {
  return await locked(places, `removal of set ${name}`, async () => {
    await settle(places);
    const known = (await readLedgers(places.state)).find((ledger) => ledger.name === name);
    if (known === undefined) {
      throw new MosError("set-conflict", `cannot remove set ${name}: it was never installed`, {
        about: name,
        hint: "mosctl set list shows what is installed.",
      });
    }
    refuseLevels(known, known);
    if (known.app !== undefined && needs === undefined) {
      const hint = `mosctl app remove ${name} stops it, and removes its images.`;
      throw new MosError("set-conflict", `cannot remove set ${name}: it is an app`, { about: name, hint });
    }
    await using _ = { [Symbol.asyncDispose]: async () => await needs?.tidy() };
    const { app: _app, previous: _previous, ...rest } = known;
    const ledger: Ledger = { ...rest, entries: [] };
    const steps = await bring(places, {
      ledger,
      owned: known.entries,
      force: false,
      activation,
      prepare: async (destination) => {
        await destination.create();
        await clearStage(destination);
        const top = await destination.open("");
        if (top !== undefined) await createDirectory(top.at(destination.stageName), 0o700);
        await top?.sync();
      },
    });
    if (steps.length === 0) await writeLedger(places.state, ledger);
    const { serial, destination } = known;
    const removed = pathsOf(steps, ["remove", "rmdir"]);
    return {
      outcome: removed.length > 0 ? "removed" : "unchanged",
      name,
      serial,
      destination,
      written: [],
      removed,
    };
  });
}

/** What is installed. */
export async function listSets({ state }: SetPlaces): Promise<readonly Ledger[]> {
  return (await readLedgers(state)).filter(({ entries }) => entries.length > 0);
}
