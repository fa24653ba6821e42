// Event logs as firmware writes them, for tests: the inverse of parseEventLog.
import { createHash } from "node:crypto";
import type { Bank } from "../../../src/efi/bank.ts";
import { u16le, u32le, u64le } from "../../../src/efi/little-endian.ts";

export interface WrittenEvent {
  readonly pcr: number;
  readonly type: number;
  readonly data: Uint8Array;
  /** What is hashed; the data when absent. */
  readonly measured?: Uint8Array;
}

const ids: Readonly<Record<Bank, number>> = { sha1: 0x04, sha256: 0x0b, sha384: 0x0c, sha512: 0x0d };
const sizes: Readonly<Record<Bank, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };

/** The Spec ID event of a log with these banks. */
export function writeSpecId(banks: readonly Bank[]): Uint8Array {
  const data = Buffer.concat([
    Buffer.from("Spec ID Event03\0"),
    ...[u32le(0), Uint8Array.of(0, 2, 0, 2), u32le(banks.length)],
    ...banks.flatMap((bank) => [u16le(ids[bank]), u16le(sizes[bank])]),
    Uint8Array.of(0),
  ]);
  return Buffer.concat([u32le(0), u32le(3), new Uint8Array(20), u32le(data.length), data]);
}

export function writeEvent({ pcr, type, data, measured }: WrittenEvent, banks: readonly Bank[]): Uint8Array {
  const digests = banks.flatMap((bank) => [
    u16le(ids[bank]),
    createHash(bank)
      .update(measured ?? data)
      .digest(),
  ]);
  return Buffer.concat([
    ...[u32le(pcr), u32le(type), u32le(banks.length), ...digests, u32le(data.length), data],
  ]);
}

export function writeLog(events: readonly WrittenEvent[], banks: readonly Bank[] = ["sha256"]): Uint8Array {
  return Buffer.concat([writeSpecId(banks), ...events.map((event) => writeEvent(event, banks))]);
}

/** UEFI_IMAGE_LOAD_EVENT of a file. */
export function imageLoadEvent(path: string): Uint8Array {
  const name = Buffer.from(`${path}\0`, "utf16le");
  const devicePath = Buffer.concat([
    ...[Uint8Array.of(4, 4), u16le(4 + name.length), name],
    Uint8Array.of(0x7f, 0xff, 4, 0),
  ]);
  return Buffer.concat([u64le(0x1000), u64le(0x2000), u64le(0), u64le(devicePath.length), devicePath]);
}
