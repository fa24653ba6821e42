// The logs of what was measured, as they are at this moment. Both are streams more than files: their size is not known
// before they are read.
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { tryLockShared } from "../system/libc.ts";
import { maxLogSize } from "./document.ts";

/** Opens a log; undefined when there is none. */
async function openLog(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** All of a log from its beginning. @throws MosError `event-log-invalid` when it is too large */
async function readAll(handle: FileHandle, path: string): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  let length = 0;
  for (;;) {
    // A sequence file of the kernel gives a page or so at a time, whatever is asked for.
    const piece = Buffer.alloc(64 * 1024);
    const { bytesRead } = await handle.read(piece, 0, piece.length, length);
    if (bytesRead === 0) return Buffer.concat(pieces);
    pieces.push(piece.subarray(0, bytesRead));
    length += bytesRead;
    if (length > maxLogSize) {
      throw new MosError("event-log-invalid", `cannot use a log of more than ${maxLogSize} bytes`, {
        about: path,
      });
    }
  }
}

/**
 * The firmware's log; undefined where the kernel has none.
 * @throws MosError `event-log-invalid` when it is larger than a document may carry; the system's error
 */
export async function readFirmwareLog(path: string): Promise<Uint8Array | undefined> {
  await using handle = await openLog(path);
  return handle === undefined ? undefined : await readAll(handle, path);
}

/** systemd holds its lock for one measurement. Who holds it longer must not keep the device from answering. */
const lockDeadlineMs = 5_000;

async function lock(handle: FileHandle): Promise<void> {
  const deadline = performance.now() + lockDeadlineMs;
  while (!tryLockShared(handle.fd)) {
    // Without it the log may be one measurement behind, which the verifier then reports as explained by nobody.
    if (performance.now() >= deadline) return;
    await delay(10);
  }
}

/**
 * Does something while systemd measures nothing: it takes a lock on its log for each measurement, so that log and PCRs
 * can be read together (systemd-pcrextend(8)).
 * @param work gets the log, or undefined where systemd has measured nothing
 */
export async function withSystemdLog<T>(
  path: string,
  work: (log: Uint8Array | undefined) => Promise<T>,
): Promise<T> {
  await using handle = await openLog(path);
  if (handle === undefined) return await work(undefined);
  await lock(handle);
  return await work(await readAll(handle, path));
}
