// Every change to what must outlive a power cut, one system call each. The rooms above (atomic-file.ts, the store,
// generations, trust) change the disk through this file alone, so that a test can record all of it, cut it off at
// any point or make any one of it fail (test/crash); test/unit/system/durable.test.ts holds them to it.
// Nothing here is durable by itself: a file's content is after its `sync`, a name after `syncDirectory`.
import { constants, type Stats } from "node:fs";
import * as fs from "node:fs/promises";

/** An open file of the state: what node's FileHandle offers that changes no more than its own file. */
export interface StateFile {
  readonly fd: number;
  stat(): Promise<Stats>;
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  /** @returns how many bytes were written, which can be fewer than asked */
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>;
  /** Writes all of it at the file's position. */
  writeFile(content: string | Uint8Array): Promise<void>;
  truncate(length: number): Promise<void>;
  chmod(mode: number): Promise<void>;
  chown(uid: number, gid: number): Promise<void>;
  /** fsync(2): content, length, mode and owner; not the name. */
  sync(): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Opens a file to write to it. @param flags as open(2) has them: numbers of node:fs `constants`, or "wx" and so on */
export async function openFile(path: string, flags: string | number, mode: number): Promise<StateFile> {
  return await fs.open(path, flags, mode);
}

/** rename(2). */
export async function rename(from: string, to: string): Promise<void> {
  await fs.rename(from, to);
}

/**
 * Two names change places, at one instant (renameat2(2), RENAME_EXCHANGE).
 * @throws Error EINVAL where they do not: one is missing, or the filesystem cannot
 */
export async function exchange(one: string, other: string): Promise<void> {
  const { exchangeNames } = await import("./libc.ts");
  if (exchangeNames(one, other)) return;
  throw Object.assign(new Error(`cannot exchange ${one} and ${other}`), { code: "EINVAL" });
}

/** unlink(2): a file or a symbolic link. */
export async function unlink(path: string): Promise<void> {
  await fs.unlink(path);
}

/** mkdir(2): one directory, whose parent is there. */
export async function createDirectory(path: string, mode: number): Promise<void> {
  await fs.mkdir(path, { mode });
}

/** rmdir(2): an empty directory. */
export async function removeDirectory(path: string): Promise<void> {
  await fs.rmdir(path);
}

/** symlink(2). */
export async function createSymlink(target: string, path: string): Promise<void> {
  await fs.symlink(target, path);
}

/** chmod(2) of a directory; a file's mode is set while it is open. */
export async function changeMode(path: string, mode: number): Promise<void> {
  await fs.chmod(path, mode);
}

/** chown(2) of a directory; a file's owner is set while it is open. */
export async function changeOwner(path: string, uid: number, gid: number): Promise<void> {
  await fs.chown(path, uid, gid);
}

/** Makes a directory's entries durable: fsync(2) on the directory itself. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
