// Files that are whole or not there, whatever instant the power goes: write a temporary file beside the
// target, fsync it, rename it over the target, fsync the directory.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readlink, rename, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { systemCode } from "../errors/mos-error.ts";

/** Makes a directory's entries durable: fsync(2) on the directory itself. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

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
    const handle = await open(temporary, "wx", mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/**
 * Creates a file that must not exist yet, whole or not at all.
 * @throws EEXIST when it does exist; it is then untouched
 */
export async function createFile(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "wx", mode);
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    if (handle !== undefined) await rm(path, { force: true });
    throw error;
  } finally {
    await handle?.close();
  }
  await syncDirectory(dirname(path));
}

/** Removes a file, durably. One that is not there is no error. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

/** Removes a file or a symbolic link that a power cut may bring back. That there is none is no error. */
export async function discard(path: string): Promise<void> {
  await rm(path, { force: true });
}

/**
 * Removes a file, or a directory and all that is below; symbolic links are not followed. That there is nothing is no
 * error. A power cut can leave a part of it: what must not be met half is removed by {@link removeWhole}.
 */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/**
 * Removes a directory so that readers and a reboot see all of it or nothing, as {@link addDirectory} adds it. What a
 * power cut leaves has the name of a temporary directory.
 */
export async function removeWhole(path: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.tmp`);
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

/** Gives a file another name in its directory, durably. */
export async function moveFile(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
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
  // One name per target: what a power cut left behind is removed by the next attempt.
  const temporary = join(dirname(path), `.${basename(path)}.tmp`);
  await rm(temporary, { recursive: true, force: true });
  try {
    await mkdir(temporary, { mode: 0o700 });
    for (const [name, content] of files) {
      await using handle = await open(join(temporary, name), "wx", 0o600);
      await handle.writeFile(content);
      await handle.sync();
    }
    await syncDirectory(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Points a symbolic link at a new target by rename, so that it always points somewhere. */
export async function replaceSymlink(path: string, target: string): Promise<void> {
  const temporary = temporaryBeside(path);
  await symlink(target, temporary);
  try {
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
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

/** Makes a directory and its parents durable. */
export async function makeDirectory(path: string, mode = 0o755): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first !== undefined) await syncDirectory(dirname(first));
}
