// Small files that decide about trust: read within bounds, never waiting on a pipe.
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { ErrorCode } from "../errors/catalogue.ts";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";

interface TrustedFile {
  readonly bytes: Uint8Array;
  /** Whether it belongs to root or the caller, and only its owner may write to it. */
  readonly isPrivate: boolean;
  /** Whether nobody but its owner may even read it. */
  readonly isSecret: boolean;
}

/**
 * A file's bytes, or undefined when there is none.
 * @param code of the error when it is there and cannot be read, or has more than `limit` bytes
 */
export async function readTrusted(
  path: string,
  limit: number,
  code: ErrorCode,
): Promise<TrustedFile | undefined> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size, uid, mode } = await handle.stat();
    const buffer = new Uint8Array(limit + 1);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    if (size > limit || bytesRead > limit) {
      throw new MosError(code, `cannot use a file of more than ${limit} bytes`, { about: path });
    }
    const isOwn = uid === 0 || uid === process.getuid?.();
    return {
      bytes: buffer.subarray(0, bytesRead),
      isPrivate: isOwn && (mode & 0o022) === 0,
      isSecret: isOwn && (mode & 0o077) === 0,
    };
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (error instanceof MosError) throw error;
    const { message } = asMosError(error);
    throw new MosError(code, `cannot read: ${message}`, { about: path, cause: error });
  }
}
