// Copying a file that was verified: what is copied is hashed on the way, and has to be what was verified.
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { StateFile } from "./durable.ts";

const pieceSize = 1024 * 1024;

/**
 * Copies a regular file into an open one.
 * @param source not followed where it is a link
 * @param expected SHA-512 of what has to be copied
 * @param limit bytes that are copied at most
 * @returns whether it was that; what is in `target` then is not to be used
 * @throws the system's error
 */
export async function copyChecked(
  source: string | Buffer,
  target: StateFile,
  expected: Uint8Array,
  limit = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  await using from = await open(source, flags);
  const stat = await from.stat();
  if (!stat.isFile()) return false;
  const piece = Buffer.allocUnsafe(Math.min(pieceSize, stat.size + 1));
  const hash = createHash("sha512");
  for (let position = 0; ; ) {
    const { bytesRead } = await from.read(piece, 0, piece.length, position);
    if (bytesRead === 0) return hash.digest().equals(expected);
    if (position + bytesRead > limit) return false;
    hash.update(piece.subarray(0, bytesRead));
    for (let offset = 0; offset < bytesRead; ) {
      const { bytesWritten } = await target.write(piece, offset, bytesRead - offset, position + offset);
      offset += bytesWritten;
    }
    position += bytesRead;
  }
}
