// A tar archive from outside, read once from front to back (POSIX.1-2017, pax, "ustar Interchange Format", and what GNU
// tar writes for long names). Members come one by one with their content; what has no place in a bundle of files, or
// what two readers could understand differently, is refused. Pure but for the bytes that it is given.
import { MosError } from "../errors/mos-error.ts";

const block = 512;
/** Bytes of an extended header or a long name: PATH_MAX twice, with room. */
const maxExtended = 64 * 1024;

/** One member; its content has to be read, or passed over, before the next is asked for. */
export type TarMember =
  | { readonly type: "file"; readonly path: string; readonly size: number; readonly isExecutable: boolean }
  | { readonly type: "directory"; readonly path: string }
  | { readonly type: "symlink"; readonly path: string; readonly target: string };

/** Why an archive is not read. */
export function refuseArchive(why: string, about?: string): never {
  throw new MosError(
    "archive-refused",
    `cannot use the archive: ${why}`,
    about === undefined ? {} : { about },
  );
}

/** Bytes that come in pieces, taken by number. */
class Source {
  private readonly pieces: AsyncIterator<Uint8Array>;
  private rest: Buffer = Buffer.alloc(0);
  private given = 0;
  private readonly limit: number;

  constructor(pieces: AsyncIterable<Uint8Array>, limit: number) {
    this.pieces = pieces[Symbol.asyncIterator]();
    this.limit = limit;
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

  /** Whether nothing but zeros is left. */
  async isZeroToTheEnd(): Promise<boolean> {
    do {
      if (this.rest.some((byte) => byte !== 0)) return false;
    } while (await this.more());
    return true;
  }
}

interface Header {
  readonly path: string;
  readonly linkPath: string;
  readonly size: number;
  readonly mode: number;
  readonly type: string;
}

/** What the members before one say of it. */
interface Extended {
  path?: string;
  linkpath?: string;
  size?: number;
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

function text(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      end < 0 ? bytes : bytes.subarray(0, end),
    );
  } catch {
    return refuseArchive("a name in it is not UTF-8");
  }
}

function header(bytes: Buffer): Header {
  const magic = bytes.toString("latin1", 257, 265);
  const isPosix = magic === "ustar\x0000";
  if (!isPosix && magic !== "ustar  \0") refuseArchive("it is no tar archive");
  let sum = 0;
  for (const [i, byte] of bytes.entries()) sum += i >= 148 && i < 156 ? 0x20 : byte;
  if (number(bytes.subarray(148, 156)) !== sum) refuseArchive("a header's checksum is wrong");
  const prefix = isPosix ? text(bytes.subarray(345, 500)) : "";
  const name = text(bytes.subarray(0, 100));
  return {
    path: prefix === "" ? name : `${prefix}/${name}`,
    linkPath: text(bytes.subarray(157, 257)),
    size: number(bytes.subarray(124, 136)),
    mode: number(bytes.subarray(100, 108)),
    type: bytes.toString("latin1", 156, 157),
  };
}

/** Records of a pax header: `LENGTH KEY=VALUE\n`. */
function records(bytes: Buffer): Extended {
  const found: Extended = {};
  for (let at = 0; at < bytes.length; ) {
    const digits = /^[1-9][0-9]{0,6}(?= )/.exec(bytes.toString("latin1", at, at + 8))?.[0];
    const end = at + Number(digits);
    const record =
      digits === undefined || end > bytes.length ? "" : text(bytes.subarray(at + digits.length + 1, end));
    const [, key, value] = /^([^=]+)=(.*)\n$/s.exec(record) ?? [];
    if (key === undefined || value === undefined) refuseArchive("an extended header is malformed");
    // GNU.sparse.*: the content is not what is stored.
    if (key.startsWith("GNU.sparse")) refuseArchive("it has a sparse file");
    if (key === "size") {
      if (!/^(?:0|[1-9][0-9]{0,14})$/.test(value)) refuseArchive("a number in a header is malformed");
      found.size = Number(value);
    } else if (key === "path" || key === "linkpath") {
      found[key] = value;
    }
    at = end;
  }
  return found;
}

/** A path of plain names: no root, no `..`, nothing that a terminal or a shell could stumble over. */
function cleanPath(path: string): string {
  const names = path.split("/").filter((name) => name !== "." && name !== "");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  const isPlain = !path.startsWith("/") && !names.includes("..") && !/[\x00-\x1f\x7f]/.test(path);
  if (!isPlain) refuseArchive("a path in it leads out of it, or has control characters", path.slice(0, 200));
  return names.join("/");
}

const padding = (size: number): number => (block - (size % block)) % block;

function member({ type, mode }: Header, path: string, target: string, size: number): TarMember {
  switch (type) {
    case "0":
    case "\0":
    case "7":
      // A name that ends in a slash was a directory before there was a type for it.
      if (path.endsWith("/") || path === "") refuseArchive("a file in it has no name", path.slice(0, 200));
      return { type: "file", path: cleanPath(path), size, isExecutable: (mode & 0o111) !== 0 };
    case "5":
      if (size !== 0) refuseArchive("it has a directory with content", path.slice(0, 200));
      return { type: "directory", path: cleanPath(path) };
    case "2":
      if (size !== 0) refuseArchive("it has a link with content", path.slice(0, 200));
      return { type: "symlink", path: cleanPath(path), target };
    case "S":
      return refuseArchive("it has a sparse file", path.slice(0, 200));
    case "1":
      return refuseArchive("it has a hard link", path.slice(0, 200));
    default:
      return refuseArchive("it has a device, a pipe, or something else than files", path.slice(0, 200));
  }
}

/** Whether a header is about the member after it: pax, or a long name of GNU tar. */
function isAboutNext({ type }: Header): boolean {
  return ["x", "g", "L", "K"].includes(type);
}

/** What such a header says, added to what is known. */
async function addExtended(source: Source, { type, size }: Header, known: Extended): Promise<Extended> {
  if (size > maxExtended) refuseArchive("a name or an extended header in it is too long");
  const content = await source.take(size);
  await source.take(padding(size));
  if (type === "g") {
    // What it says is of all members after it: nothing of that may be what a name or a size is.
    if (Object.keys(records(content)).length > 0) refuseArchive("it names files for all members at once");
    return known;
  }
  if (type === "L" || type === "K") {
    const key = type === "L" ? "path" : "linkpath";
    if (known[key] !== undefined) refuseArchive("it says two things of one member");
    return { ...known, [key]: text(content) };
  }
  const said = records(content);
  if (Object.keys(said).some((key) => Object.hasOwn(known, key)))
    refuseArchive("it says two things of one member");
  return { ...known, ...said };
}

/**
 * Goes through the members of an archive.
 * @param pieces its bytes, unpacked
 * @param limit how many of them there may be
 * @param each gets every member, and of a file its content, which it need not read to its end
 * @throws MosError `archive-refused`
 */
export async function readTar(
  pieces: AsyncIterable<Uint8Array>,
  limit: number,
  each: (member: TarMember, content: AsyncIterable<Buffer>) => Promise<void>,
): Promise<void> {
  const source = new Source(pieces, limit);
  let extended: Extended = {};
  for (;;) {
    const bytes = await source.take(block);
    if (bytes.every((byte) => byte === 0)) break;
    const found = header(bytes);
    if (isAboutNext(found)) {
      extended = await addExtended(source, found, extended);
      continue;
    }
    const size = extended.size ?? found.size;
    const one = member(found, extended.path ?? found.path, extended.linkpath ?? found.linkPath, size);
    extended = {};
    const content = source.upTo(size);
    await each(one, content);
    // What was not read.
    for await (const _ of content);
    await source.take(padding(size));
  }
  if (!(await source.isZeroToTheEnd())) refuseArchive("it goes on after its end");
}
