// Reads what the kernel's dm-log-writes wrote down: every write that reached a disk, in the order in which the disk had to
// have them (Documentation/admin-guide/device-mapper/log-writes.rst; the structures are in drivers/md/dm-log-writes.c).
import { type FileHandle, open } from "node:fs/promises";

/** WRITE_LOG_MAGIC and WRITE_LOG_VERSION. */
const magic = 0x6a736677736872n;
const version = 1n;
/** LOG_FLUSH_FLAG, LOG_FUA_FLAG, LOG_DISCARD_FLAG, LOG_MARK_FLAG. */
const flags = { flush: 1n, fua: 2n, discard: 4n, mark: 8n };
/** The fields of struct log_write_entry. */
const entryBytes = 32;

export interface LoggedWrite {
  /** Where on the disk, in bytes. */
  readonly position: number;
  /** Where in the log its bytes are, and how many. */
  readonly at: number;
  readonly length: number;
  /** All writes before it are on the disk for good. */
  readonly isFlush: boolean;
  readonly isDiscard: boolean;
  /** What was said with `dmsetup message … mark TEXT`. */
  readonly mark: string | undefined;
}

async function readExactly(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, at);
  if (bytesRead !== length) throw new Error(`the log ends at ${at + bytesRead}`);
  return buffer;
}

/** Every entry of a log, in order. @throws Error when it is none */
export async function readWriteLog(path: string): Promise<LoggedWrite[]> {
  await using file = await open(path);
  const head = await readExactly(file, 0, 28);
  if (head.readBigUInt64LE(0) !== magic || head.readBigUInt64LE(8) !== version) {
    throw new Error(`${path} is no log of dm-log-writes`);
  }
  const count = Number(head.readBigUInt64LE(16));
  const sector = head.readUInt32LE(24);
  const entries: LoggedWrite[] = [];
  let at = sector;
  for (let i = 0; i < count; i++) {
    const entry = await readExactly(file, at, sector);
    const bits = entry.readBigUInt64LE(16);
    const isDiscard = (bits & flags.discard) !== 0n;
    const isMark = (bits & flags.mark) !== 0n;
    const length = Number(entry.readBigUInt64LE(8)) * sector;
    at += sector;
    entries.push({
      position: Number(entry.readBigUInt64LE(0)) * sector,
      ...{ at, length, isDiscard },
      isFlush: (bits & (flags.flush | flags.fua)) !== 0n,
      mark: isMark
        ? entry
            .toString("latin1", entryBytes, entryBytes + Number(entry.readBigUInt64LE(24)))
            .replace(/\0.*$/s, "")
        : undefined,
    });
    if (!isDiscard) at += length;
  }
  return entries;
}

/** Does again on `disk` what an entry says. A discard is none: what it leaves is not certain. */
export async function replay(log: FileHandle, disk: FileHandle, entry: LoggedWrite): Promise<void> {
  if (entry.isDiscard || entry.length === 0) return;
  await disk.write(await readExactly(log, entry.at, entry.length), 0, entry.length, entry.position);
}
