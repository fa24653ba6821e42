// Files that are whole or not there, whatever instant the power goes: write a temporary file beside the
// target, fsync it, rename it over the target, fsync the directory.
import { randomBytes } from "node:crypto";
import { lstat, readdir, readlink, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { systemCode } from "../errors/mos-error.ts";
import {
  createDirectory,
  createSymlink,
  openFile,
  removeDirectory,
  rename,
  type StateFile,
  syncDirectory,
  unlink,
} from "./durable.ts";

export { syncDirectory } from "./durable.ts";

function temporaryBeside(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
}

/**
 * Writes a file so that readers and a reboot see the old content or the new, never a part.
 * @param mode permission bits of the new file; default 0644
 * @throws the system's error (ENOSPC, EROFS, …); the target is then unchanged and no temporary file is left
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  mode = 0o644,
): Promise<void> {
  const temporary = temporaryBeside(path);
  try {
    const handle = await openFile(temporary, "wx", mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await discard(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/**
 * Creates a file that must not exist yet, whole or not at all.
 * @throws EEXIST when it does exist; it is then untouched
 */
export async function createFile(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  let handle: StateFile | undefined;
  try {
    handle = await openFile(path, "wx", mode);
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    if (handle !== undefined) await discard(path);
    throw error;
  } finally {
    await handle?.close();
  }
  await syncDirectory(dirname(path));
}

/** Removes a file or a symbolic link, durably. One that is not there is no error. */
export async function removeFile(path: string): Promise<void> {
  await discard(path);
  await syncDirectory(dirname(path));
}

/** Gives a file another name in its directory, durably. */
export async function moveFile(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/** One name per target: what a power cut left behind is removed by the next attempt. */
function temporaryDirectoryOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.tmp`);
}

/**
 * Creates a directory of files, for its owner only, whole and durable or not at all.
 * @throws the system's error, ENOTEMPTY or EEXIST when it does exist
 */
export async function addDirectory(
  path: string,
  files: Iterable<readonly [name: string, content: Uint8Array]>,
): Promise<void> {
  await makeDirectory(dirname(path), 0o700);
  const temporary = temporaryDirectoryOf(path);
  await removeTree(temporary);
  try {
    await createDirectory(temporary, 0o700);
    for (const [name, content] of files) {
      await using handle = await openFile(join(temporary, name), "wx", 0o600);
      await handle.writeFile(content);
      await handle.sync();
    }
    await syncDirectory(temporary);
    await rename(temporary, path);
  } catch (error) {
    await removeTree(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Points a symbolic link at a new target by rename, so that it always points somewhere. */
export async function replaceSymlink(path: string, target: string): Promise<void> {
  const temporary = temporaryBeside(path);
  await createSymlink(target, temporary);
  try {
    await rename(temporary, path);
  } catch (error) {
    await discard(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Where a symbolic link points, or undefined when there is none. */
export async function readSymlink(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Makes a directory and its parents, each durable.
 * @throws the system's error, EEXIST when it is something else than a directory
 */
export async function makeDirectory(path: string, mode = 0o755): Promise<void> {
  if (await isMade(path, mode)) return;
  await makeDirectory(dirname(path), mode);
  await isMade(path, mode, "with its parents");
}

/** @returns whether the directory is there now; false when its parent is not */
async function isMade(path: string, mode: number, parents?: "with its parents"): Promise<boolean> {
  try {
    await createDirectory(path, mode);
  } catch (error) {
    const code = systemCode(error);
    if (code === "EEXIST" && (await isDirectory(path))) return true;
    if (code === "ENOENT" && parents === undefined && dirname(path) !== path) return false;
    throw error;
  }
  await syncDirectory(dirname(path));
  return true;
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path)).isDirectory();
}

/** Removes a file or a symbolic link that a power cut may bring back. That there is none is no error. */
export async function discard(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/**
 * Removes a file, or a directory and all that is below; symbolic links are not followed. That there is nothing is no
 * error. A power cut can leave a part of it: what must not be met half is removed by {@link removeWhole}.
 */
export async function removeTree(path: string): Promise<void> {
  const stat = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (stat === undefined) return;
  if (!stat.isDirectory()) return await discard(path);
  for (const name of await readdir(path)) await removeTree(join(path, name));
  await removeDirectory(path);
}

/**
 * Removes a directory so that readers and a reboot see all of it or nothing, as {@link addDirectory} adds it. What a
 * power cut leaves has the name of a temporary directory.
 */
export async function removeWhole(path: string): Promise<void> {
  const temporary = temporaryDirectoryOf(path);
  await removeTree(temporary);
  try {
    await rename(path, temporary);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw error;
  }
  await syncDirectory(dirname(path));
  await removeTree(temporary);
}
