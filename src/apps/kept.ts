// Versions of apps that are kept, so that one can come back: the signed set of each without its images, in
// STATE/NAME/SERIAL. Whole or not there: written beside, and given its name last.
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { beside, copyFile, keepTree, place } from "../signed-sets/keep-tree.ts";
import { manifestName, parseSetManifest, type SetManifest } from "../signed-sets/set-manifest.ts";
import { removeWhole } from "../system/atomic-file.ts";

/** Where a version of an app is kept. */
export function keptPath(apps: string, name: string, serial: number): string {
  return join(apps, name, String(serial));
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Keeps a version that has no list of its own: as the archive that it came in, with its signature. */
export async function keepArchive(
  apps: string,
  name: string,
  serial: number,
  archive: string,
): Promise<void> {
  const path = keptPath(apps, name, serial);
  if (dirname(archive) === path) return;
  const temporary = await beside(path);
  for (const file of [archive, `${archive}.sig`]) await copyFile(file, join(temporary, basename(file)));
  await place(temporary, path);
}

/** The archive of such a version; undefined for one with a list. */
export async function keptArchive(apps: string, name: string, serial: number): Promise<string | undefined> {
  const path = keptPath(apps, name, serial);
  const signature = (await namesIn(path)).find((file) => /\.(?:tar|tgz|tar\.gz|tar\.zst)\.sig$/.test(file));
  return signature === undefined ? undefined : join(path, signature.slice(0, -".sig".length));
}

/** A version that is kept, and its list, whose signature nobody has checked. @throws MosError `app-not-kept` */
export async function readKept(
  apps: string,
  name: string,
  serial: number,
): Promise<{ readonly tree: string; readonly manifest: SetManifest }> {
  const tree = keptPath(apps, name, serial);
  try {
    return { tree, manifest: parseSetManifest(await readFile(join(tree, manifestName))) };
  } catch (error) {
    throw notKept(name, error);
  }
}

/**
 * Keeps a version without its images.
 * @param tree where it is, with its list and the signature
 * @throws MosError `set-mixed`, or the system's error
 */
export async function keep(
  apps: string,
  tree: string,
  { name, serial, entries }: SetManifest,
): Promise<void> {
  await keepTree(tree, keptPath(apps, name, serial), entries);
}

/** Serials of what is kept of each app. */
export async function keptVersions(apps: string): Promise<ReadonlyMap<string, readonly number[]>> {
  const found = new Map<string, readonly number[]>();
  for (const name of await namesIn(apps)) {
    const serials = (await namesIn(join(apps, name))).filter((one) => /^[1-9][0-9]{0,15}$/.test(one));
    found.set(name, serials.map(Number));
  }
  return found;
}

/** Drops what is kept of an app but for some versions. */
export async function dropBut(apps: string, name: string, serials: readonly number[]): Promise<void> {
  const directory = join(apps, name);
  for (const one of await namesIn(directory)) {
    if (!serials.includes(Number(one))) await removeWhole(join(directory, one));
  }
  if (serials.length === 0) await removeWhole(directory);
}

/** @throws MosError `app-not-kept` */
export function notKept(name: string, cause?: unknown): MosError {
  return new MosError("app-not-kept", `cannot use app ${name}: no such version of it is kept`, {
    about: name,
    ...(cause === undefined ? {} : { cause }),
  });
}
