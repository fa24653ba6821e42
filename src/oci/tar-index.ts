// Where the files of a layout are within a tar archive (POSIX.1-2017, pax, section "ustar Interchange Format"; GNU tar
// writes the same but for large numbers). The archive is from outside and never unpacked: what the reader below does
// not know, or what two readers could understand differently, is refused. Pure: bytes are read through a callback.
import { MosError } from "../errors/mos-error.ts";

/** Bytes of a header, and what every member's content is padded to. */
const block = 512;
/** Members, and bytes of one extended header: far more than a layout needs. */
const maxMembers = 16_384;
const maxExtended = 64 * 1024;

/** Names of a layout (OCI image specification 1.1, "OCI Image Layout"). All other files are passed over. */
const layoutName = /^(?:oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/;

export interface Member {
  /** Where its content begins. */
  readonly offset: number;
  readonly size: number;
}

/** Reads exactly so many bytes, or fewer at the end of the archive. */
export type ReadAt = (offset: number, length: number) => Buffer;

interface Header {
  readonly name: string;
  readonly size: number;
  readonly type: string;
}

/** What an extended header says of the member after it. */
interface Extended {
  readonly path?: string;
  readonly size?: number;
}

class Indexer {
  private readonly read: ReadAt;
  private readonly size: number;
  private readonly about: string;
  private readonly members = new Map<string, Member>();
  private at = 0;
  private extended: Extended = {};

  constructor(size: number, read: ReadAt, about: string) {
    this.size = size;
    this.read = read;
    this.about = about;
  }

  run(): ReadonlyMap<string, Member> {
    for (let count = 0; ; count++) {
      if (count > maxMembers) this.refuse(`it has more than ${maxMembers} members`);
      const bytes = this.take(block);
      if (isZero(bytes)) break;
      this.member(this.header(bytes));
    }
    if (!isZero(this.take(block))) this.refuse("it goes on after its end");
    return this.members;
  }

  private refuse(why: string): never {
    throw new MosError("archive-invalid", `cannot read the archive ${this.about}: ${why}`, {
      about: this.about,
    });
  }

  private take(length: number): Buffer {
    const bytes = this.read(this.at, length);
    if (bytes.length !== length) this.refuse("it is cut short");
    this.at += length;
    return bytes;
  }

  private header(bytes: Buffer): Header {
    const magic = bytes.toString("latin1", 257, 265);
    // POSIX "ustar" NUL "00"; GNU "ustar" two blanks NUL.
    if (magic !== "ustar\x0000" && magic !== "ustar  \0") {
      const isPacked = bytes.readUInt16BE(0) === 0x1f8b || bytes.readUInt32LE(0) === 0xfd2fb528;
      this.refuse(
        isPacked ? "it is compressed: unpack it with gunzip or unzstd first" : "it is no tar archive",
      );
    }
    let sum = 0;
    for (const [i, byte] of bytes.entries()) sum += i >= 148 && i < 156 ? 0x20 : byte;
    if (this.number(bytes.subarray(148, 156)) !== sum) this.refuse("a header's checksum is wrong");
    const prefix = magic === "ustar\x0000" ? this.text(bytes.subarray(345, 500)) : "";
    const name = this.text(bytes.subarray(0, 100));
    return {
      name: prefix === "" ? name : `${prefix}/${name}`,
      size: this.number(bytes.subarray(124, 136)),
      type: bytes.toString("latin1", 156, 157),
    };
  }

  /** Octal digits, ended by NUL or a blank; or, of GNU, a large number in binary with the first bit set. */
  private number(field: Buffer): number {
    if (field[0] === 0x80) {
      const value = BigInt(`0x${field.subarray(1).toString("hex")}`);
      if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.refuse("a number in a header is too large");
      return Number(value);
    }
    const digits = /^ *([0-7]+)[\0 ]*$/.exec(field.toString("latin1"))?.[1];
    if (digits === undefined) this.refuse("a number in a header is malformed");
    return Number.parseInt(digits, 8);
  }

  private text(field: Buffer): string {
    const end = field.indexOf(0);
    const bytes = end < 0 ? field : field.subarray(0, end);
    if (end >= 0 && !isZero(field.subarray(end))) this.refuse("a name in a header is malformed");
    return this.decode(bytes);
  }

  private decode(bytes: Buffer): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.refuse("a name in it is not UTF-8");
    }
  }

  private member(header: Header): void {
    switch (header.type) {
      case "x":
        if (Object.keys(this.extended).length > 0) this.refuse("it has two extended headers for one member");
        this.extended = this.records(header.size);
        return;
      case "g":
        // What it says is of all members after it: nothing of that may be what a name or a size is.
        if (Object.keys(this.records(header.size)).length > 0) {
          this.refuse("it names files for all members at once");
        }
        return;
      case "5":
        if (header.size !== 0) this.refuse("it has a directory with content");
        this.extended = {};
        return;
      case "0":
      case "\0":
        this.file(this.extended.path ?? header.name, this.extended.size ?? header.size);
        this.extended = {};
        return;
      default:
        this.refuse(
          `it has something else than files and directories: ${JSON.stringify(header.name.slice(0, 100))}`,
        );
    }
  }

  private file(given: string, size: number): void {
    const name = given.replace(/^(?:\.\/)+/, "");
    if (name.startsWith("/") || name.split("/").includes("..") || name.includes("\0")) {
      this.refuse(`it has a file outside of itself: ${JSON.stringify(name.slice(0, 100))}`);
    }
    if (size > this.size - this.at) this.refuse("it is cut short");
    if (layoutName.test(name)) {
      if (this.members.has(name)) this.refuse(`it has ${name} twice`);
      this.members.set(name, { offset: this.at, size });
    }
    this.at += Math.ceil(size / block) * block;
  }

  /** The records of an extended header: each `LENGTH KEY=VALUE` and a line feed, LENGTH counting all of it. */
  private records(size: number): Extended {
    if (size > maxExtended) this.refuse(`an extended header is larger than ${maxExtended} bytes`);
    const bytes = this.take(Math.ceil(size / block) * block).subarray(0, size);
    const values = new Map<string, string>();
    for (let at = 0; at < bytes.length; ) {
      const length = /^[1-9][0-9]{0,5} /.exec(bytes.toString("latin1", at, at + 8))?.[0] ?? "";
      const end = at + Number(length);
      const isWhole = length !== "" && end <= bytes.length && bytes[end - 1] === 0x0a;
      const record = isWhole ? this.decode(bytes.subarray(at + length.length, end - 1)) : "";
      const equals = record.indexOf("=");
      if (equals < 1) this.refuse("an extended header is malformed");
      const key = record.slice(0, equals);
      if (values.has(key) || key.startsWith("GNU.sparse")) this.refuse(`an extended header has ${key}`);
      values.set(key, record.slice(equals + 1));
      at = end;
    }
    const [path, length] = [values.get("path"), values.get("size")];
    if (length !== undefined && !/^(?:0|[1-9][0-9]{0,14})$/.test(length)) {
      this.refuse("a size in an extended header is malformed");
    }
    return {
      ...(path === undefined ? {} : { path }),
      ...(length === undefined ? {} : { size: Number(length) }),
    };
  }
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

/**
 * The files of the layout in an archive, by their names there.
 * @param size bytes of the archive
 * @param about its path, for messages
 * @throws MosError `archive-invalid`
 */
export function indexTar(size: number, read: ReadAt, about: string): ReadonlyMap<string, Member> {
  return new Indexer(size, read, about).run();
}
