// Reading blobs of an OCI layout: only regular files, never through a symbolic link, never more than was declared.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { digestOf } from "./digest.ts";
import type { Descriptor } from "./model.ts";

/** O_NONBLOCK: a FIFO that somebody planted must not make us wait; it is refused as not a regular file. */
const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Bytes of one piece of a blob. */
export const pieceBytes = 1024 * 1024;

function openFailed(error: unknown, path: string): MosError {
  switch (systemCode(error)) {
    case "ENOENT":
      return new MosError("not-found", `there is no ${path}`, { about: path, cause: error });
    case "ELOOP":
      return notRegular(path);
    default:
      return asMosError(error, path);
  }
}

function notRegular(path: string): MosError {
  return new MosError("state-invalid", `cannot read ${path}: it is not a regular file`, {
    about: path,
    hint: "Somebody put something else in its place: remove it, then fetch or publish again.",
  });
}

function wrongSize(path: string, size: number, declared: number): MosError {
  return new MosError("size-mismatch", `${path} has ${size} bytes, not the ${declared} that were declared`, {
    about: path,
  });
}

/**
 * Reads a small regular file whole. Synchronous: at boot hundreds of small documents are read, and a round trip
 * through the thread pool costs more than each of them.
 * @param limit bytes; a larger file is not read
 * @throws MosError `not-found`, `state-invalid` (not a regular file), `too-large`, `io-failed`
 */
export function readSmallFile(path: string, limit: number): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (error) {
    throw openFailed(error, path);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw notRegular(path);
    if (stat.size > limit) {
      throw new MosError("too-large", `${path} has ${stat.size} bytes; the limit is ${limit}`, {
        about: path,
      });
    }
    const bytes = new Uint8Array(stat.size);
    let at = 0;
    while (at < bytes.length) {
      const read = readSync(fd, bytes, at, bytes.length - at, at);
      if (read === 0) break;
      at += read;
    }
    return bytes.subarray(0, at);
  } catch (error) {
    throw asMosError(error, path);
  } finally {
    closeSync(fd);
  }
}

/**
 * Reads a small blob and checks it against its descriptor.
 * @param read the bytes, no more than its argument
 * @param path for messages
 * @param limit bytes
 * @throws MosError `too-large`, `size-mismatch`, `digest-mismatch`, and what `read` throws
 */
export function checkSmallBlob(
  read: (limit: number) => Uint8Array,
  path: string,
  descriptor: Descriptor,
  limit: number,
): Uint8Array {
  if (descriptor.size > limit) {
    throw new MosError(
      "too-large",
      `${descriptor.digest} has ${descriptor.size} bytes; the limit for it is ${limit}`,
      { about: descriptor.digest },
    );
  }
  const bytes = read(limit);
  if (bytes.length !== descriptor.size) throw wrongSize(path, bytes.length, descriptor.size);
  const actual = digestOf(bytes);
  if (actual !== descriptor.digest) {
    throw new MosError("digest-mismatch", `the content of ${path} has the digest ${actual}`, { about: path });
  }
  return bytes;
}

/**
 * Sent back to a blob's generator (`next(pieceCopied)`) by a reader that is done with the memory of the last piece,
 * so that it can be used again. A plain `for await` sends nothing and gets each piece in memory of its own, which
 * the garbage collector lets grow to 60 MiB before it looks.
 */
export const pieceCopied = Symbol("piece copied");

/**
 * The bytes of a blob in pieces of 1 MiB, the next one read while the last is used. Not verified.
 * @throws MosError `not-found`, `state-invalid`, `size-mismatch`, `io-failed`
 */
export async function* readPieces(
  path: string,
  size: number,
  offset: number,
): AsyncGenerator<Uint8Array, void, unknown> {
  const handle = await open(path, flags).catch((error: unknown) => {
    throw openFailed(error, path);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw notRegular(path);
    if (stat.size !== size) throw wrongSize(path, stat.size, size);
    const spares: Buffer[] = [];
    let at = offset;
    const next = () => {
      const length = Math.min(pieceBytes, size - at);
      if (length <= 0) return undefined;
      return handle.read(spares.pop() ?? Buffer.allocUnsafeSlow(pieceBytes), 0, length, at);
    };
    for (let pending = next(); pending !== undefined; ) {
      const { bytesRead, buffer } = await pending;
      if (bytesRead === 0) throw wrongSize(path, at, size);
      at += bytesRead;
      pending = next();
      // Awaited only after the consumer is done with this piece: a failure meanwhile must not be "unhandled".
      pending?.catch(() => undefined);
      if ((yield buffer.subarray(0, bytesRead)) === pieceCopied) spares.push(buffer);
    }
  } catch (error) {
    throw asMosError(error, path);
  } finally {
    await handle.close();
  }
}

/**
 * The bytes of a blob from `start` to `end` (not included). Not verified.
 * @throws MosError `not-found`, `state-invalid`, `size-mismatch`, `io-failed`
 */
export async function readRange(path: string, size: number, start: number, end: number): Promise<Uint8Array> {
  const handle = await open(path, flags).catch((error: unknown) => {
    throw openFailed(error, path);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw notRegular(path);
    if (stat.size !== size || end > size) throw wrongSize(path, stat.size, Math.max(size, end));
    const bytes = Buffer.allocUnsafeSlow(end - start);
    await readFully(handle, bytes, start, path);
    return bytes;
  } catch (error) {
    throw asMosError(error, path);
  } finally {
    await handle.close();
  }
}

/** Fills a buffer from a place in a file. @throws MosError `size-mismatch` when the file ends before */
export async function readFully(
  handle: FileHandle,
  bytes: Buffer,
  position: number,
  path: string,
): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) throw wrongSize(path, position + at, position + bytes.length);
    at += bytesRead;
  }
}
