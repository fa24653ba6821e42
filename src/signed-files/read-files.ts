// Reading what is to be signed or installed: by paths of bytes, each file through one descriptor, in pieces.
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  statSync,
} from "node:fs";
import { systemCode } from "../errors/mos-error.ts";
import { type ByteText, fromBytes, toBytes } from "./byte-path.ts";

/** What a path is, itself or what it leads to. */
export type Kind = "regular" | "symlink" | "directory" | "other";

/** Bytes that are read at once. */
const pieceSize = 1024 * 1024;
let piece: Buffer | undefined;

function kindOf(stat: ReturnType<typeof lstatSync>): Kind {
  if (stat === undefined) return "other";
  if (stat.isFile()) return "regular";
  if (stat.isSymbolicLink()) return "symlink";
  return stat.isDirectory() ? "directory" : "other";
}

/** lstat(2). @throws the system's error */
export function kindAt(path: ByteText): Kind {
  return kindOf(lstatSync(toBytes(path)));
}

/** stat(2): what a path leads to; undefined where nothing is, or nothing that can be looked at. */
export function kindBehind(path: ByteText): Kind | undefined {
  try {
    return kindOf(statSync(toBytes(path)));
  } catch {
    return undefined;
  }
}

/** Names in a directory, in the order of their bytes. @throws the system's error */
export function namesIn(directory: ByteText): readonly ByteText[] {
  return readdirSync(toBytes(directory), { encoding: "buffer" })
    .map((name) => fromBytes(name))
    .sort();
}

/** readlink(2). @throws the system's error */
export function linkTarget(path: ByteText): ByteText {
  return fromBytes(readlinkSync(toBytes(path), { encoding: "buffer" }));
}

function withOpen<T>(path: ByteText, flags: number, use: (fd: number) => T): T {
  // Without waiting for a writer where it is a pipe.
  const fd = openSync(toBytes(path), constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

/** A failure as the system would report it. */
function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** A small file, whole. @throws the system's error, EFBIG when it has more than `limit` bytes */
export function readWhole(path: ByteText, limit: number): Buffer {
  return withOpen(path, 0, (fd) => {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw failure("EISDIR");
    const buffer = Buffer.alloc(Math.min(limit, stat.size) + 1);
    let length = 0;
    for (;;) {
      const count = readSync(fd, buffer, length, buffer.length - length, null);
      length += count;
      if (count === 0) return buffer.subarray(0, length);
      if (length === buffer.length) throw failure("EFBIG");
    }
  });
}

/** As {@link readWhole}, undefined where nothing is. */
export function readIfThere(path: ByteText, limit: number): Buffer | undefined {
  try {
    return readWhole(path, limit);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Gives a file to `take` in pieces, each to be used at once. @throws the system's error */
function readPieces(fd: number, take: (bytes: Buffer) => void): void {
  piece ??= Buffer.alloc(pieceSize);
  for (let position = 0; ; ) {
    const count = readSync(fd, piece, 0, piece.length, position);
    if (count === 0) return;
    take(piece.subarray(0, count));
    position += count;
  }
}

/**
 * SHA-512 of a regular file, read once.
 * @param take is given the pieces along with it
 * @param follow whether a link at the path is followed
 * @throws the system's error, ELOOP for a link that is not to be followed, EINVAL for what is no regular file
 */
export function digestFile(path: ByteText, follow: boolean, take?: (bytes: Buffer) => void): Buffer {
  return withOpen(path, follow ? 0 : constants.O_NOFOLLOW, (fd) => {
    if (!fstatSync(fd).isFile()) throw failure("EINVAL");
    const hash = createHash("sha512");
    readPieces(fd, (bytes) => {
      hash.update(bytes);
      take?.(bytes);
    });
    return hash.digest();
  });
}
