// A tar archive from outside, read once from front to back (POSIX.1-2017, pax, "ustar Interchange Format", and what GNU
// tar writes for long names). Members come one by one with their content; what has no place in a bundle of files, or
// what two readers could understand differently, is refused. Pure but for the bytes that it is given.
import {
  block,
  padding,
  paxRecords,
  paxSize,
  paxText,
  refuseArchive,
  TarBytes,
  type TarHeader,
  tarHeader,
  tarText,
} from "./tar-format.ts";

/** Bytes of an extended header or a long name: PATH_MAX twice, with room. */
const maxExtended = 64 * 1024;

/** One member; its content has to be read, or passed over, before the next is asked for. */
export type TarMember =
  | { readonly type: "file"; readonly path: string; readonly size: number; readonly isExecutable: boolean }
  | { readonly type: "directory"; readonly path: string }
  | { readonly type: "symlink"; readonly path: string; readonly target: string };

/** What the members before one say of it. */
interface Extended {
  path?: string;
  linkpath?: string;
  size?: number;
}

/** What a pax header says of the next member, as far as a bundle of files has to know. */
function records(bytes: Buffer): Extended {
  const found: Extended = {};
  for (const { key, value } of paxRecords(bytes)) {
    // GNU.sparse.*: the content is not what is stored.
    if (key.startsWith("GNU.sparse")) refuseArchive("it has a sparse file");
    if (key === "size") found.size = paxSize(value);
    else if (key === "path" || key === "linkpath") found[key] = paxText(value);
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

function member({ type, mode }: TarHeader, path: string, target: string, size: number): TarMember {
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
function isAboutNext({ type }: TarHeader): boolean {
  return ["x", "g", "L", "K"].includes(type);
}

/** What such a header says, added to what is known. */
async function addExtended(source: TarBytes, { type, size }: TarHeader, known: Extended): Promise<Extended> {
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
    return { ...known, [key]: tarText(content) };
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
  const source = new TarBytes(pieces, limit);
  let extended: Extended = {};
  for (;;) {
    const bytes = await source.take(block);
    if (bytes.every((byte) => byte === 0)) break;
    const found = tarHeader(bytes);
    if (isAboutNext(found)) {
      extended = await addExtended(source, found, extended);
      continue;
    }
    const size = extended.size ?? found.size;
    const one = member(found, extended.path ?? found.path(), extended.linkpath ?? found.linkPath(), size);
    extended = {};
    const content = source.upTo(size);
    await each(one, content);
    // What was not read.
    for await (const _ of content);
    await source.take(padding(size));
  }
  if (!(await source.isZeroToTheEnd())) refuseArchive("it goes on after its end");
}
