// Writing as validator does: a temporary file beside the target, renamed over it. Nothing here waits for the disk;
// what must outlive a power cut is written by strict-install.ts and the sets.
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, renameSync, symlinkSync, unlinkSync, writeSync } from "node:fs";
import { systemCode } from "../errors/mos-error.ts";
import { type ByteText, toBytes } from "./byte-path.ts";

/** As mkostemp names them: six characters behind a dot. */
function temporaryBeside(path: ByteText): Buffer {
  const suffix = randomBytes(6).toString("base64url").slice(0, 6);
  return Buffer.concat([toBytes(path), Buffer.from(`.${suffix}`)]);
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.length; ) offset += writeSync(fd, bytes, offset);
}

/**
 * Puts a new file in the place of what is there, which is replaced itself where it is a link. Mode 0644, less the umask.
 * @param fill is given what writes, and may throw: the old file is then still there
 * @throws the system's error
 */
export function replaceFileBy(path: ByteText, fill: (write: (bytes: Uint8Array) => void) => void): void {
  const temporary = temporaryBeside(path);
  const fd = openSync(temporary, "wx", 0o644);
  try {
    try {
      fill((bytes) => writeAll(fd, bytes));
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, toBytes(path));
  } catch (error) {
    unlinkSync(temporary);
    throw error;
  }
}

/** As {@link replaceFileBy}, of bytes. */
export function replaceFile(path: ByteText, content: Uint8Array): void {
  replaceFileBy(path, (write) => write(content));
}

/** Removes what is there, and makes a link. @throws the system's error */
export function replaceLink(path: ByteText, target: ByteText): void {
  try {
    unlinkSync(toBytes(path));
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
  symlinkSync(toBytes(target), toBytes(path));
}

/** Makes a directory and its parents, mode 0755 less the umask. @throws the system's error */
export function makeDirectories(path: ByteText): void {
  mkdirSync(toBytes(path), { recursive: true, mode: 0o755 });
}
