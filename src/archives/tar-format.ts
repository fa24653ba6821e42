// The tar format as bytes: blocks, headers, extended headers (POSIX.1-2017, pax, "ustar Interchange Format", and what GNU
// tar writes for large numbers). Pure but for the bytes that it is given; what a member may be is for its readers to say.
import { MosError } from "../errors/mos-error.ts";

export const block = 512;

/** Why an archive is not read. */
export function refuseArchive(why: string, about?: string): never {
  throw new MosError(
    "archive-refused",
    `cannot use the archive: ${why}`,
    about === undefined ? {} : { about },
  );
}

/** Bytes that come in pieces, taken by number. */
export class TarBytes {
  private readonly pieces: AsyncIterator<Uint8Array>;
  private rest: Buffer = Buffer.alloc(0);
  private given = 0;
  private readonly limit: number;

  constructor(pieces: AsyncIterable<Uint8Array>, limit: number) {
    this.pieces = pieces[Symbol.asyncIterator]();
    this.limit = limit;
  }

  /** How many bytes were taken. */
  get position(): number {
    return this.given - this.rest.length;
  }

  private async more(): Promise<boolean> {
    const { done, value } = await this.pieces.next();
    if (done === true) return false;
    this.given += value.length;
    if (this.given > this.limit) refuseArchive(`it unpacks to more than ${this.limit} bytes`);
    this.rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return true;
  }

  /** Up to so many bytes, in pieces as they come. */
  async *upTo(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0; ) {
      if (this.rest.length === 0 && !(await this.more())) refuseArchive("it is cut short");
      const piece = this.rest.subarray(0, left);
      this.rest = this.rest.subarray(piece.length);
      left -= piece.length;
      if (piece.length > 0) yield piece;
    }
  }

  async take(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.upTo(length)) pieces.push(Buffer.from(piece));
    return Buffer.concat(pieces);
  }

  /** Whether nothing is left. */
  async isAtEnd(): Promise<boolean> {
    while (this.rest.length === 0) if (!(await this.more())) return true;
    return false;
  }

  /** Reads what is left, and forgets it: a program does not end before all that it writes has been read. */
  async readToTheEnd(): Promise<void> {
    while (await this.more());
    this.rest = Buffer.alloc(0);
  }

  /** Whether nothing but zeros is left. */
  async isZeroToTheEnd(): Promise<boolean> {
    do {
      if (this.rest.some((byte) => byte !== 0)) return false;
    } while (await this.more());
    return true;
  }
}

export interface TarHeader {
  /** When asked for, because the field may hold half a character of a name that an extended header has whole. */
  readonly path: () => string;
  readonly linkPath: () => string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly major: number;
  readonly minor: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  readonly type: string;
}

/** Largest time of a squashfs inode (4 bytes), seconds. */
const latestTime = 2 ** 32 - 1;

/** A time that a layer can hold; one that is none does not make an archive unusable. */
function time(field: Buffer): number {
  // GNU: binary; before 1970 the first byte is 0xff.
  if (field[0] === 0x80)
    return Math.min(latestTime, Number(BigInt(`0x${field.subarray(1).toString("hex")}`)));
  const digits = /^ *([0-7]+)[\0 ]*$/.exec(field.toString("latin1"))?.[1];
  return digits === undefined ? 0 : Math.min(latestTime, Number.parseInt(digits, 8));
}

function number(field: Buffer): number {
  // GNU: a large number in binary, with the first bit set.
  if (field[0] === 0x80) {
    const value = BigInt(`0x${field.subarray(1).toString("hex")}`);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) refuseArchive("a number in a header is too large");
    return Number(value);
  }
  const digits = /^ *([0-7]*)[\0 ]*$/.exec(field.toString("latin1"))?.[1];
  if (digits === undefined) refuseArchive("a number in a header is malformed");
  return digits === "" ? 0 : Number.parseInt(digits, 8);
}

/** Text up to the first NUL. @throws MosError `archive-refused` when it is not UTF-8 */
export function tarText(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      end < 0 ? bytes : bytes.subarray(0, end),
    );
  } catch {
    return refuseArchive("a name in it is not UTF-8");
  }
}

/** Reads one header, whose checksum has to be right. @throws MosError `archive-refused` */
export function tarHeader(bytes: Buffer): TarHeader {
  const magic = bytes.toString("latin1", 257, 265);
  const isPosix = magic === "ustar\x0000";
  if (!isPosix && magic !== "ustar  \0") refuseArchive("it is no tar archive");
  let sum = 0;
  for (const [i, byte] of bytes.entries()) sum += i >= 148 && i < 156 ? 0x20 : byte;
  if (number(bytes.subarray(148, 156)) !== sum) refuseArchive("a header's checksum is wrong");
  return {
    path: () => {
      const prefix = isPosix ? tarText(bytes.subarray(345, 500)) : "";
      const name = tarText(bytes.subarray(0, 100));
      return prefix === "" ? name : `${prefix}/${name}`;
    },
    linkPath: () => tarText(bytes.subarray(157, 257)),
    size: number(bytes.subarray(124, 136)),
    mode: number(bytes.subarray(100, 108)),
    uid: number(bytes.subarray(108, 116)),
    gid: number(bytes.subarray(116, 124)),
    major: number(bytes.subarray(329, 337)),
    minor: number(bytes.subarray(337, 345)),
    mtime: time(bytes.subarray(136, 148)),
    type: bytes.toString("latin1", 156, 157),
  };
}

/** A record of an extended header. */
interface PaxRecord {
  readonly key: string;
  readonly value: Buffer;
}

/** Records of a pax header: `LENGTH KEY=VALUE\n`. @throws MosError `archive-refused` */
export function paxRecords(bytes: Buffer): PaxRecord[] {
  const found: PaxRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    const digits = /^[1-9][0-9]{0,6}(?= )/.exec(bytes.toString("latin1", at, at + 8))?.[0];
    const end = at + Number(digits);
    if (digits === undefined || end > bytes.length || bytes[end - 1] !== 0x0a) malformed();
    const record = bytes.subarray(at + digits.length + 1, end - 1);
    const equals = record.indexOf("=");
    if (equals <= 0) malformed();
    found.push({ key: tarText(record.subarray(0, equals)), value: record.subarray(equals + 1) });
    at = end;
  }
  return found;
}

function malformed(): never {
  refuseArchive("an extended header is malformed");
}

/** Bytes after a member's content up to the next block. */
export const padding = (size: number): number => (block - (size % block)) % block;

/** Text as a pax record has it: all of it. @throws MosError `archive-refused` */
export function paxText(value: Buffer): string {
  if (value.includes(0)) malformed();
  return tarText(value);
}

/** A size as a pax record has it. @throws MosError `archive-refused` */
export function paxSize(value: Buffer): number {
  const digits = paxText(value);
  if (!/^(?:0|[1-9][0-9]{0,14})$/.test(digits)) refuseArchive("a number in a header is malformed");
  return Number(digits);
}

/** A time as a pax record has it, with a fraction that is left out; one before 1970 is 0. */
export function paxTime(value: Buffer): number {
  const digits = /^([0-9]{1,15})(\.[0-9]*)?$/.exec(paxText(value))?.[1];
  return digits === undefined ? 0 : Math.min(latestTime, Number(digits));
}
