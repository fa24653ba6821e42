// Sets in levels: all signed sets of one name that say for whom they are (audience.ts), as one configuration. What is
// installed is the merge of the levels that are for this device; the levels themselves are kept, so that one can change or
// go, and what it has hidden is back.
import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { makeDirectory, syncDirectory } from "../system/atomic-file.ts";
import type { Activation } from "./activation.ts";
import { rankOf } from "./audience.ts";
import { type InstalledSet, locked, settle } from "./bring.ts";
import { keepTree } from "./keep-tree.ts";
import { type Level, readLedgers } from "./ledger.ts";
import { levelName } from "./level-name.ts";
import {
  bringMerged,
  type LevelDevice,
  type LevelOptions,
  refuseUnlevelled,
  tidy,
} from "./merge-installed.ts";
import { type LevelPlaces, type ReadLevel, readLevel, readLevels } from "./read-levels.ts";
import { checkTree, readSignedSet } from "./read-set.ts";
import { refuseOlder } from "./set-checks.ts";

/** A release of a level that is for others: nothing was done with it. */
export interface LeftAlone {
  readonly outcome: "left-alone";
  readonly name: string;
  readonly serial: number;
  readonly destination: string;
  readonly level: string;
}

/** Keeps a release durably, before anything refers to it. */
async function keepLevel({ kept }: LevelPlaces, { manifest, digest, tree }: ReadLevel): Promise<void> {
  await makeDirectory(kept, 0o700);
  await keepTree(tree, join(kept, digest), manifest.entries);
  await syncDirectory(kept);
}

/**
 * Installs a release of one level: it is kept, and what all levels come to is brought to its destination.
 * @param tree directory of the signed set
 * @throws MosError as `installSet`, and `set-undecided`
 */
export async function installLevel(
  device: LevelDevice,
  tree: string,
  options: LevelOptions,
): Promise<InstalledSet | LeftAlone> {
  const { places, keys, identity } = device;
  return await locked(places, `installation of ${tree}`, async () => {
    await settle(places);
    const level = await readNamed(tree, keys);
    const { name, serial, destination } = level.manifest;
    const key = levelName(level.audience);
    const leftAlone: LeftAlone = { outcome: "left-alone", name, serial, destination, level: key };
    if (rankOf(level.audience, identity) === undefined) return leftAlone;
    const known = (await readLedgers(places.state)).find((ledger) => ledger.name === name);
    refuseUnlevelled(name, known);
    const titled = { name: `${name} (${key})`, serial };
    const all = known?.levels ?? [];
    const before = all.find((one) => levelName(one.for) === key);
    if (before?.newest !== undefined) refuseOlder(titled, level.digest, before.newest);
    await checkTree(tree, level.manifest);
    try {
      await keepLevel(places, level);
      const release = { serial, manifest: level.digest };
      const now: Level = { for: level.audience, kept: release, newest: release, paths: [] };
      const remembered = [...all.filter((one) => one !== before), now];
      const found = await readLevels(places, name, remembered, keys);
      const counts = found.find((one) => levelName(one.audience) === key);
      if (counts !== undefined && counts.digest !== level.digest) {
        refuseOlder(titled, level.digest, { serial: counts.manifest.serial, manifest: counts.digest });
      }
      return (await bringMerged(device, { name, known, remembered, found }, options)) ?? leftAlone;
    } finally {
      await tidy(places);
    }
  });
}

async function readNamed(tree: string, keys: readonly KeyObject[]): Promise<ReadLevel> {
  const { manifest } = await readSignedSet(tree, keys);
  return await readLevel(tree, manifest.name, "kept", keys);
}

/**
 * Removes levels that were installed; what they have hidden is back. What the image brings stays.
 * @param level of {@link levelName}; all of them without it
 * @throws MosError `set-conflict` when no such level was installed
 */
export async function removeLevels(
  device: LevelDevice,
  name: string,
  level: string | undefined,
  activation: Activation | undefined,
): Promise<InstalledSet> {
  const { places, keys } = device;
  return await locked(places, `removal of set ${name}`, async () => {
    await settle(places);
    const known = (await readLedgers(places.state)).find((ledger) => ledger.name === name);
    const all = known?.levels ?? [];
    const isGoing = (one: Level): boolean =>
      one.kept !== undefined && (level === undefined || levelName(one.for) === level);
    if (known === undefined || !all.some(isGoing)) throw nothingToRemove(name, level, all);
    try {
      const remembered = all.map((one): Level => {
        const { kept: _, ...rest } = one;
        return isGoing(one) ? rest : one;
      });
      const found = await readLevels(places, name, remembered, keys);
      const options = { force: false, activation };
      const done = await bringMerged(device, { name, known, remembered, found }, options);
      const { serial, destination } = known;
      return { ...{ name, serial, destination, written: [], removed: [] }, ...done, outcome: "removed" };
    } finally {
      await tidy(places);
    }
  });
}

function nothingToRemove(name: string, level: string | undefined, all: readonly Level[]): MosError {
  const isOfImage = all.some(
    ({ for: audience, counts }) =>
      counts?.source === "image" && (level === undefined || levelName(audience) === level),
  );
  const what = level === undefined ? `set ${name}` : `${level} of set ${name}`;
  const why = isOfImage ? "it comes with the image" : "it is not installed";
  return new MosError("set-conflict", `cannot remove ${what}: ${why}`, {
    about: name,
    hint: "mosctl set list shows what is installed.",
  });
}
