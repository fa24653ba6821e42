// Versions of apps that are kept, so that one can come back: the signed set of each without its images, in
// STATE/NAME/SERIAL. Whole or not there: written beside, and given its name last.
import { cp, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { imagesName } from "../signed-sets/set-manifest.ts";
import { makeDirectory, moveFile, removeTree, removeWhole } from "../system/atomic-file.ts";
import { run } from "../system/process.ts";

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

/** Keeps a version, whose files were verified. */
export async function keep(apps: string, name: string, serial: number, tree: string): Promise<void> {
  const path = keptPath(apps, name, serial);
  if (tree === path) return;
  await makeDirectory(dirname(path), 0o700);
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  await removeTree(temporary);
  await cp(tree, temporary, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => source !== join(tree, imagesName),
  });
  await run("sync", ["--file-system", temporary], { timeoutMs: 10 * 60_000 });
  await removeWhole(path);
  await moveFile(temporary, path);
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
export function notKept(name: string): MosError {
  return new MosError("app-not-kept", `cannot go back with app ${name}: no version before is kept`, {
    about: name,
  });
}
