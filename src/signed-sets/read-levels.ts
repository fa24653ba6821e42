// The levels of a set that are on a device: those that its image brings, in IMAGE/NAME/*, and those that were installed,
// each kept under the SHA-512 of its list. Nothing of either is believed before its signature holds.
import type { KeyObject } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import type { Audience } from "./audience.ts";
import { type Level, maxLevels } from "./ledger.ts";
import { levelName } from "./level-name.ts";
import { readSignedSet } from "./read-set.ts";
import type { SetManifest } from "./set-manifest.ts";

export interface LevelPlaces {
  /** Of levels that were installed. */
  readonly kept: string;
  /** Of those that the image brings. */
  readonly image: string;
}

/** A level whose signature holds, and where it lies. */
export interface ReadLevel {
  readonly audience: Audience;
  readonly manifest: SetManifest;
  /** SHA-512 of its list. */
  readonly digest: string;
  readonly tree: string;
  readonly source: "kept" | "image";
}

export async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** @throws MosError `set-invalid` when it is no level of this set, and what reading a signed set throws */
export async function readLevel(
  tree: string,
  name: string,
  source: ReadLevel["source"],
  keys: readonly KeyObject[],
): Promise<ReadLevel> {
  const { manifest, digest } = await readSignedSet(tree, keys);
  const { for: audience } = manifest;
  if (audience === undefined || manifest.name !== name) {
    const why = audience === undefined ? "it does not say for whom it is" : `it is of set ${manifest.name}`;
    throw new MosError("set-invalid", `cannot use ${tree} as a level of set ${name}: ${why}`, {
      about: tree,
    });
  }
  return { audience, manifest, digest, tree, source };
}

async function imageLevels(
  image: string,
  name: string,
  keys: readonly KeyObject[],
): Promise<readonly ReadLevel[]> {
  const below = join(image, name);
  const names = await namesIn(below);
  if (names.length > maxLevels) {
    throw new MosError("set-invalid", `cannot use ${below}: it has more than ${maxLevels} levels`, {
      about: below,
    });
  }
  const levels: ReadLevel[] = [];
  for (const one of names) levels.push(await readLevel(join(below, one), name, "image", keys));
  return levels;
}

/** @throws MosError `state-invalid` when what is kept is not what the ledger says */
async function keptLevels(
  kept: string,
  name: string,
  known: readonly Level[],
  keys: readonly KeyObject[],
): Promise<readonly ReadLevel[]> {
  const levels: ReadLevel[] = [];
  for (const { kept: release } of known) {
    if (release === undefined) continue;
    const { manifest } = release;
    const level = await readLevel(join(kept, manifest), name, "kept", keys);
    if (level.digest !== manifest) {
      throw new MosError(
        "state-invalid",
        `cannot use ${level.tree}: it is another release than was installed`,
        {
          about: level.tree,
        },
      );
    }
    levels.push(level);
  }
  return levels;
}

/** The newest of each level; of the same release the image's. @throws MosError `set-conflict` */
function newestOf(levels: readonly ReadLevel[]): readonly ReadLevel[] {
  const newest = new Map<string, ReadLevel>();
  for (const level of levels) {
    const key = levelName(level.audience);
    const there = newest.get(key);
    const isNewer = there === undefined || level.manifest.serial > there.manifest.serial;
    if (there !== undefined && !isNewer && level.manifest.serial === there.manifest.serial) {
      if (level.digest === there.digest) continue;
      throw new MosError(
        "set-conflict",
        `cannot say which ${key} of set ${level.manifest.name} counts: two have one serial`,
        {
          about: level.tree,
        },
      );
    }
    if (isNewer) newest.set(key, level);
  }
  return [...newest.values()];
}

/**
 * Every level of a set that is on the device, whomever it is for.
 * @param known levels that its ledger has
 * @throws MosError what reading a signed set throws, `set-invalid`, `state-invalid`, `set-conflict`
 */
export async function readLevels(
  { kept, image }: LevelPlaces,
  name: string,
  known: readonly Level[],
  keys: readonly KeyObject[],
): Promise<readonly ReadLevel[]> {
  const ofImage = await imageLevels(image, name, keys);
  return newestOf([...ofImage, ...(await keptLevels(kept, name, known, keys))]);
}
