// A layer of an image that was unpacked into one tar archive: where everything in it is, without a file for each. What
// the layer deletes of those below it, it says as a mounted layer does (kernel, Documentation/filesystems/overlayfs.rst).
import { createReadStream } from "node:fs";
import { type LayerMember, opaqueAttribute, readLayerTar } from "../archives/layer-tar.ts";
import { refuseArchive } from "../archives/tar-format.ts";
import type { Found, LayerEntry, LayerView } from "./root-tree.ts";

/** Members that a layer may have; the largest images have some hundred thousand files. */
const maxMembers = 2_000_000;
/** Hard links to hard links; no tool writes such. */
const maxHardLinks = 8;

interface Indexed {
  readonly type: LayerMember["type"];
  readonly target: string;
  readonly isExecutable: boolean;
  readonly offset: number;
  readonly size: number;
  /** It is the mark of something deleted. */
  readonly isGone: boolean;
  readonly isOpaque: boolean;
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

class Index implements LayerView {
  private readonly archive: string;
  private readonly members: ReadonlyMap<string, Indexed>;
  /** Directories that nobody has listed, and something is in. */
  private readonly implied: ReadonlySet<string>;

  constructor(archive: string, members: ReadonlyMap<string, Indexed>, implied: ReadonlySet<string>) {
    this.archive = archive;
    this.members = members;
    this.implied = implied;
  }

  entry(path: string): LayerEntry | undefined {
    const name = path.replace(/^\/+/, "");
    if (name === "" || this.implied.has(name)) return { found: this.directory(path) };
    const own = this.members.get(name);
    if (own === undefined) return this.hides(name) ? "gone" : undefined;
    if (own.isGone) return "gone";
    if (own.type === "symlink")
      return { found: { ...this.directory(path), kind: "other" }, target: own.target };
    const file = this.fileOf(own);
    if (file !== undefined) {
      const { offset, size, isExecutable } = file;
      return { found: { path, host: this.archive, kind: "file", isExecutable, part: { offset, size } } };
    }
    return { found: { ...this.directory(path), kind: own.type === "directory" ? "directory" : "other" } };
  }

  private directory(path: string): Found {
    return { path, host: this.archive, kind: "directory", isExecutable: true };
  }

  private fileOf(one: Indexed): Indexed | undefined {
    let at: Indexed | undefined = one;
    for (let links = 0; at?.type === "hardlink" && links < maxHardLinks; links++)
      at = this.members.get(at.target);
    return at?.type === "file" ? at : undefined;
  }

  /** Whether a directory above is none here, or shows nothing of the layers below. */
  private hides(name: string): boolean {
    for (let above = parentOf(name); above !== ""; above = parentOf(above)) {
      const own = this.members.get(above);
      if (own !== undefined && (own.type !== "directory" || own.isOpaque)) return true;
    }
    return false;
  }
}

/**
 * Reads what is in a layer.
 * @param archive a tar archive of it, as the layer is when it is mounted; it has to stay where it is
 * @param limit bytes that it may have
 * @throws MosError `archive-refused`, `io-failed`
 */
export async function indexLayer(archive: string, limit: number): Promise<LayerView> {
  const members = new Map<string, Indexed>();
  const implied = new Set<string>();
  await readLayerTar(
    createReadStream(archive),
    limit,
    async ({ type, path, target, mode, major, minor, size, xattrs }, _, offset) => {
      if (members.size > maxMembers) refuseArchive(`it has more than ${maxMembers} entries`);
      const isGone = type === "char" && major === 0 && minor === 0;
      const isOpaque = xattrs.get(opaqueAttribute)?.toString("latin1") === "y";
      const isExecutable = (mode & 0o111) !== 0;
      members.set(path, { type, target, isExecutable, offset, size, isGone, isOpaque });
      for (let above = parentOf(path); above !== "" && !implied.has(above); above = parentOf(above))
        implied.add(above);
    },
    "overlay",
  );
  for (const path of members.keys()) implied.delete(path);
  return new Index(archive, members, implied);
}
