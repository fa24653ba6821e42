// Keeping a signed set: a copy of it that is whole or not there, written beside its place and given its name last.
import { constants, createReadStream, existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { makeDirectory, moveFile, removeTree } from "../system/atomic-file.ts";
import { copyChecked } from "../system/copy-checked.ts";
import { createDirectory, createSymlink, exchange, openFile, syncDirectory } from "../system/durable.ts";
import { refuseMixed } from "./read-set.ts";
import { manifestName, type SetEntry, signatureName } from "./set-manifest.ts";

const newFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Copies a file durably but for its name, in pieces. */
export async function copyFile(from: string, to: string): Promise<void> {
  await using file = await openFile(to, newFile, 0o600);
  for await (const piece of createReadStream(from)) await file.writeFile(piece);
  await file.sync();
}

/** Puts a directory that was written durably beside its place into it: there is one at every moment from the first on. */
export async function place(temporary: string, path: string): Promise<void> {
  await syncDirectory(temporary);
  if (!existsSync(path)) return await moveFile(temporary, path);
  await exchange(temporary, path);
  await syncDirectory(dirname(path));
  await removeTree(temporary);
}

/** An empty directory beside the place of a version. What a power cut left there goes. */
export async function beside(path: string): Promise<string> {
  await makeDirectory(dirname(path), 0o700);
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  await removeTree(temporary);
  await createDirectory(temporary, 0o700);
  return temporary;
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
 * Keeps a set with its list and the signature.
 * @param tree where it is
 * @param path where it is kept
 * @throws MosError `set-mixed`, or the system's error
 */
export async function keepTree(tree: string, path: string, entries: readonly SetEntry[]): Promise<void> {
  if (tree === path) return;
  const temporary = await beside(path);
  for (const entry of entries) await copyEntry(tree, temporary, entry);
  for (const file of [manifestName, signatureName]) await copyFile(join(tree, file), join(temporary, file));
  for (const { path: inside } of entries.filter(({ type }) => type === "directory")) {
    await syncDirectory(join(temporary, inside));
  }
  await place(temporary, path);
}
