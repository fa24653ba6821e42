// A tar layer of a container image as a tar archive that an overlay of mounted layers understands: what is deleted becomes
// the overlay's own mark for that (kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"),
// directories come first and all of them, and each path once. The same layer on the same layers gives the same bytes.

import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { type LayerMember, readLayerTar } from "../archives/layer-tar.ts";
import { refuseArchive } from "../archives/tar-format.ts";
import { tarEnd, tarMember, tarPadding } from "../archives/tar-write.ts";

/** Members that a layer may have; the largest images have some hundred thousand files. */
const maxMembers = 4_000_000;

const whiteoutPrefix = ".wh.";
const opaqueMark = ".wh..wh..opq";

/** What the directories of the layers below are like, for a layer that has files in them and does not say it again. */
export type Directories = Map<string, LayerMember>;

export interface RewrittenLayer {
  /** It neither has nor deletes anything. */
  readonly isEmpty: boolean;
  /** It deletes something of the layers below. */
  readonly deletes: boolean;
  /** The last time of anything in it, seconds since 1970. */
  readonly newest: number;
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

function plainDirectory(path: string): LayerMember {
  const nobody = {
    uid: 0,
    gid: 0,
    major: 0,
    minor: 0,
    size: 0,
    mtime: 0,
    target: "",
    xattrs: new Map<string, Buffer>(),
  };
  return { type: "directory", path, mode: 0o755, ...nobody };
}

/** What is in a layer, in the end: of several members of one path the last counts. */
class Contents {
  readonly entries = new Map<string, { readonly at: number; readonly member: LayerMember }>();
  readonly opaque = new Set<string>();
  readonly deleted = new Set<string>();
  private count = 0;

  add(member: LayerMember): void {
    const at = this.count;
    this.count += 1;
    if (this.count > maxMembers) refuseArchive(`it has more than ${maxMembers} entries`);
    const [parent, name] = [parentOf(member.path), nameOf(member.path)];
    if (name === opaqueMark) this.opaque.add(parent);
    else if (name.startsWith(`${whiteoutPrefix}${whiteoutPrefix}`)) return;
    else if (name.startsWith(whiteoutPrefix))
      this.delete(parent, name.slice(whiteoutPrefix.length), member.path);
    else if (member.path !== "") this.entries.set(member.path, { at, member });
  }

  private delete(parent: string, name: string, about: string): void {
    if (name === "" || name === "." || name === "..")
      refuseArchive("it deletes something without a name", about);
    this.deleted.add(parent === "" ? name : `${parent}/${name}`);
  }

  /** Deleted below and there again: of a directory nothing of the old one may show through. */
  settle(): void {
    const implied = new Set<string>();
    for (const path of [...this.entries.keys(), ...this.deleted, ...this.opaque])
      for (let up = parentOf(path); up !== "" && !implied.has(up); up = parentOf(up)) implied.add(up);
    for (const path of this.deleted) {
      const type = implied.has(path) ? "directory" : this.entries.get(path)?.member.type;
      if (type === undefined) continue;
      this.deleted.delete(path);
      if (type === "directory") this.opaque.add(path);
    }
  }

  /** Every directory that the layer has or has something in, the upper ones first. */
  directories(below: Directories): LayerMember[] {
    const found = new Map<string, LayerMember>();
    const add = (path: string): void => {
      if (path === "" || found.has(path)) return;
      add(parentOf(path));
      const own = this.entries.get(path)?.member;
      if (own !== undefined && own.type !== "directory")
        refuseArchive("it has something below what is not a directory", path.slice(0, 200));
      found.set(path, own ?? below.get(path) ?? plainDirectory(path));
    };
    for (const [path, { member }] of this.entries) add(member.type === "directory" ? path : parentOf(path));
    for (const path of this.deleted) add(parentOf(path));
    for (const path of this.opaque) add(path);
    return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** @throws MosError `archive-refused` for a hard link to anything but a file of this layer */
  checkLinks(): void {
    for (const { member } of this.entries.values()) {
      if (member.type !== "hardlink") continue;
      let to = this.entries.get(member.target)?.member;
      for (let steps = 0; to?.type === "hardlink" && steps < 16; steps++)
        to = this.entries.get(to.target)?.member;
      if (to === undefined || to.type === "directory" || to.type === "hardlink")
        refuseArchive("it has a hard link to what is not a file in it", member.path.slice(0, 200));
    }
  }

  /** Tells the layers above what directories are like now. */
  tell(below: Directories, directories: readonly LayerMember[]): void {
    const gone = [
      ...this.deleted,
      ...this.opaque,
      ...[...this.entries.values()].flatMap(({ member }) =>
        member.type === "directory" ? [] : [member.path],
      ),
    ].filter((path) => below.has(path));
    for (const path of gone)
      for (const known of [...below.keys()])
        if (known === path || known.startsWith(`${path}/`)) below.delete(known);
    for (const directory of directories) below.set(directory.path, directory);
  }
}

/**
 * Rewrites one layer.
 * @param from its tar archive, unpacked
 * @param limit bytes of that
 * @param below of the layers under it; holds those of this one as well afterwards
 * @throws MosError `archive-refused`, `no-space`, `io-failed`
 */
export async function rewriteLayer(
  from: string,
  to: string,
  limit: number,
  below: Directories,
): Promise<RewrittenLayer> {
  const contents = new Contents();
  await readLayerTar(createReadStream(from), limit, async (member) => contents.add(member));
  // A root that is opaque hides all that is below it.
  if (contents.opaque.has("")) refuseArchive("it deletes everything below it");
  contents.settle();
  contents.checkLinks();
  const directories = contents.directories(below);
  const { entries, opaque, deleted } = contents;
  if (directories.length === 0 && entries.size === 0 && deleted.size === 0)
    return { isEmpty: true, deletes: false, newest: 0 };
  const out = createWriteStream(to, { flags: "wx" });
  const write = async (bytes: Uint8Array): Promise<void> => {
    if (bytes.length > 0 && !out.write(bytes)) await once(out, "drain");
  };
  try {
    for (const directory of directories) {
      const xattrs = new Map(directory.xattrs);
      if (opaque.has(directory.path)) xattrs.set("trusted.overlay.opaque", Buffer.from("y"));
      await write(tarMember({ ...directory, xattrs }));
    }
    const links: LayerMember[] = [];
    let at = 0;
    await readLayerTar(createReadStream(from), limit, async (member, content) => {
      const entry = entries.get(member.path);
      const isLast = entry?.at === at;
      at += 1;
      if (!isLast || member.type === "directory") return;
      if (member.type === "hardlink") return void links.push(member);
      await write(tarMember(member));
      for await (const piece of content) await write(piece);
      if (member.type === "file") await write(tarPadding(member.size));
    });
    // What is linked is there by now.
    for (const link of orderedLinks(links)) await write(tarMember(link));
    for (const path of [...deleted].sort())
      await write(tarMember({ ...plainDirectory(path), type: "char", mode: 0 }));
    await write(tarEnd);
  } finally {
    out.end();
    await once(out, "close");
  }
  contents.tell(below, directories);
  let newest = 0;
  for (const { mtime } of [...directories, ...[...entries.values()].map(({ member }) => member)])
    newest = Math.max(newest, mtime);
  return { isEmpty: false, deletes: deleted.size + opaque.size > 0, newest };
}

/** Links to links after those, as they came otherwise. */
function orderedLinks(links: readonly LayerMember[]): LayerMember[] {
  const byPath = new Map(links.map((link) => [link.path, link]));
  return links.map((link) => {
    let { target } = link;
    for (let next = byPath.get(target); next !== undefined; next = byPath.get(target)) target = next.target;
    return { ...link, target };
  });
}
