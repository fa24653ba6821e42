// The members of a layer of a container image (OCI image specification 1.1, "Image Layer Filesystem Changeset"): whole,
// with owners, modes, extended attributes, hard links and devices, and what whiteouts say. Paths are made plain; what
// would lead out of the layer is refused. Pure but for the bytes that it is given.
import {
  block,
  padding,
  paxRecords,
  paxSize,
  paxText,
  paxTime,
  refuseArchive,
  TarBytes,
  type TarHeader,
  tarHeader,
  tarText,
} from "./tar-format.ts";

/** Bytes of an extended header: extended attributes have 64 KiB at most each (xattr(7)), and some may be there. */
const maxExtended = 1024 * 1024;

export interface LayerMember {
  readonly type: "file" | "directory" | "symlink" | "hardlink" | "char" | "block" | "fifo";
  /** Below the root of the layer, without a slash at either end; empty for the root itself. */
  readonly path: string;
  /** Of a symlink as it is, of a hard link a path like `path`, otherwise empty. */
  readonly target: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly major: number;
  readonly minor: number;
  readonly size: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

const types: Readonly<Record<string, LayerMember["type"]>> = {
  ...{ "0": "file", "\0": "file", "7": "file", "1": "hardlink", "2": "symlink" },
  ...{ "3": "char", "4": "block", "5": "directory", "6": "fifo" },
};

/** What the members before one say of it. */
interface Extended {
  path?: string;
  linkpath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  readonly xattrs: Map<string, Buffer>;
}

function plainPath(path: string): string {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  if (names.includes("..")) refuseArchive("a path in it leads out of it", path.slice(0, 200));
  if (names.some((name) => Buffer.byteLength(name) > 255) || Buffer.byteLength(path) > 4095)
    refuseArchive("a path in it is too long", path.slice(0, 200));
  return names.join("/");
}

/** Kernel, Documentation/filesystems/overlayfs.rst: of a directory, that nothing of the layers below shows through. */
export const opaqueAttribute = "trusted.overlay.opaque";

/**
 * `image`: what a builder of images makes; `overlay`: a layer that is mounted, with the overlay's own marks; `root`: a
 * tree of this machine, with everything, but without such marks.
 */
type LayerKind = "image" | "overlay" | "root";

/** Attributes that have a meaning elsewhere than where the image was built; others are that place's own. */
function keepXattr(name: string, kind: LayerKind): boolean {
  if (kind === "overlay" && name === opaqueAttribute) return true;
  if (kind === "root" && !name.startsWith("trusted.overlay.")) return true;
  // What an overlay would obey: where a directory "really" is, that a file's content is elsewhere.
  if (name.startsWith("trusted.")) refuseArchive("it has an extended attribute of the host's", name);
  return name === "security.capability" || name.startsWith("user.");
}

function addRecords(bytes: Buffer, known: Extended, kind: LayerKind): void {
  for (const { key, value } of paxRecords(bytes)) {
    if (key.startsWith("GNU.sparse")) refuseArchive("it has a sparse file");
    if (key === "path" || key === "linkpath") known[key] = paxText(value);
    else if (key === "size" || key === "uid" || key === "gid") known[key] = paxSize(value);
    else if (key === "mtime") known.mtime = paxTime(value);
    else if (key.startsWith("SCHILY.xattr.") && keepXattr(key.slice("SCHILY.xattr.".length), kind))
      known.xattrs.set(key.slice("SCHILY.xattr.".length), Buffer.from(value));
  }
}

async function addExtended(
  source: TarBytes,
  { type, size }: TarHeader,
  known: Extended,
  kind: LayerKind,
): Promise<void> {
  if (size > maxExtended) refuseArchive("a name or an extended header in it is too long");
  const content = await source.take(size);
  await source.take(padding(size));
  if (type === "L") known.path = tarText(content);
  else if (type === "K") known.linkpath = tarText(content);
  else if (type === "x") addRecords(content, known, kind);
  else if (paxRecords(content).some(({ key }) => key !== "comment"))
    refuseArchive("it says something of all members at once");
}

function member(found: TarHeader, known: Extended, kind: LayerKind): LayerMember {
  const written = known.path ?? found.path();
  const path = plainPath(written);
  const type = types[found.type];
  if (type === undefined) refuseArchive("it has something of an unknown kind", path.slice(0, 200));
  // A name that ends in a slash was a directory before there was a type for it.
  const isOldDirectory = type === "file" && written.endsWith("/");
  const link = known.linkpath ?? found.linkPath();
  const size = known.size ?? found.size;
  if (type !== "file" && size !== 0) refuseArchive("it has content where there is none", path.slice(0, 200));
  if (path === "" && type !== "directory" && !isOldDirectory)
    refuseArchive("its root is not a directory", written.slice(0, 200));
  if (kind !== "overlay" && type === "char" && found.major === 0 && found.minor === 0)
    refuseArchive("it has a device that an overlay takes for a deleted file", path.slice(0, 200));
  if (type === "symlink" && (link === "" || Buffer.byteLength(link) > 4095))
    refuseArchive("it has a link to nothing", path.slice(0, 200));
  return {
    type: isOldDirectory ? "directory" : type,
    path,
    target: type === "symlink" ? link : type === "hardlink" ? plainPath(link) : "",
    mode: found.mode & 0o7777,
    uid: known.uid ?? found.uid,
    gid: known.gid ?? found.gid,
    major: found.major,
    minor: found.minor,
    size,
    mtime: known.mtime ?? found.mtime,
    xattrs: known.xattrs,
  };
}

/**
 * Goes through the members of a layer.
 * @param pieces its bytes, unpacked; read to their end
 * @param limit how many of them there may be
 * @param each gets every member, and of a file its content, which it need not read to its end, and where that begins
 * @throws MosError `archive-refused`
 */
export async function readLayerTar(
  pieces: AsyncIterable<Uint8Array>,
  limit: number,
  each: (member: LayerMember, content: AsyncIterable<Buffer>, offset: number) => Promise<void>,
  kind: LayerKind = "image",
): Promise<void> {
  const source = new TarBytes(pieces, limit);
  let known: Extended = { xattrs: new Map() };
  // Some builders leave out the end of an archive, and the padding before it. That nothing is missing is for the digest
  // of the layer to say.
  while (!(await source.isAtEnd())) {
    const bytes = await source.take(block);
    if (bytes.every((byte) => byte === 0)) break;
    const found = tarHeader(bytes);
    if (["x", "g", "L", "K"].includes(found.type)) {
      await addExtended(source, found, known, kind);
      continue;
    }
    const one = member(found, known, kind);
    known = { xattrs: new Map() };
    const content = source.upTo(one.size);
    await each(one, content, source.position);
    // What was not read.
    for await (const _ of content);
    if (!(await source.isAtEnd())) await source.take(padding(one.size));
  }
  await source.readToTheEnd();
}
