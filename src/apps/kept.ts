// Versions of apps that are kept, so that one can come back: the signed set of each without its images, in
// STATE/NAME/SERIAL. Whole or not there: written beside, and given its name last.
import { constants, createReadStream, existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { refuseMixed } from "../signed-sets/read-set.ts";
import {
  manifestName,
  parseSetManifest,
  type SetEntry,
  type SetManifest,
  signatureName,
} from "../signed-sets/set-manifest.ts";
import { makeDirectory, moveFile, removeTree, removeWhole } from "../system/atomic-file.ts";
import { copyChecked } from "../system/copy-checked.ts";
import { createDirectory, createSymlink, exchange, openFile, syncDirectory } from "../system/durable.ts";

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

const newFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Copies a file durably but for its name, in pieces. */
async function copyFile(from: string, to: string): Promise<void> {
  await using file = await openFile(to, newFile, 0o600);
  for await (const piece of createReadStream(from)) await file.writeFile(piece);
  await file.sync();
}

/** Puts a directory that was written durably beside its place into it: there is one at every moment from the first on. */
async function place(temporary: string, path: string): Promise<void> {
  await syncDirectory(temporary);
  if (!existsSync(path)) return await moveFile(temporary, path);
  await exchange(temporary, path);
  await syncDirectory(dirname(path));
  await removeTree(temporary);
}

/** An empty directory beside the place of a version. What a power cut left there goes. */
async function beside(path: string): Promise<string> {
  await makeDirectory(dirname(path), 0o700);
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  await removeTree(temporary);
  await createDirectory(temporary, 0o700);
  return temporary;
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

/** Copies one entry durably but for its name. @throws MosError `set-mixed` */
async function copyEntry(tree: string, to: string, entry: SetEntry): Promise<void> {
  const at = join(to, entry.path);
  if (entry.type === "directory") return await createDirectory(at, 0o700);
  if (entry.type === "symlink") return await createSymlink(entry.target, at);
  await using file = await openFile(at, newFile, 0o600);
  if (!(await copyChecked(join(tree, entry.path), file, Buffer.from(entry.sha512, "hex"), entry.size))) {
    refuseMixed([`${entry.path} has other content than listed`], tree);
  }
  await file.sync();
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
  const path = keptPath(apps, name, serial);
  if (tree === path) return;
  const temporary = await beside(path);
  for (const entry of entries) await copyEntry(tree, temporary, entry);
  for (const file of [manifestName, signatureName]) await copyFile(join(tree, file), join(temporary, file));
  for (const { path: inside } of entries.filter(({ type }) => type === "directory")) {
    await syncDirectory(join(temporary, inside));
  }
  await place(temporary, path);
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
