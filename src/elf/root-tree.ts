// Looks into the root of another system without entering it: symbolic links and ".." are followed as the kernel
// would after chroot, so that nothing of the machine that builds is ever seen. The root is a directory, or several
// of them over one another as overlayfs shows them.
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  type Stats,
} from "node:fs";
import { join } from "node:path";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";

/** A file's content, read in parts. */
export interface FileBytes {
  /** Bytes. */
  readonly size: number;
  /** So many bytes from an offset; fewer at the end. */
  readonly read: (offset: number, length: number) => Uint8Array;
}

/** What a path of a root leads to. */
export interface Found {
  /** Absolute, in the root, without links. */
  readonly path: string;
  /** Where that is on this machine. */
  readonly host: string;
  readonly kind: "file" | "directory" | "other";
  /** Of a file that is a part of `host`: where its content is in it (bytes). */
  readonly part?: { readonly offset: number; readonly size: number };
  /** Somebody may execute it. */
  readonly isExecutable: boolean;
}

/** One name in a layer; `target` of a symbolic link. `gone`: what the layers below have there does not count. */
export type LayerEntry = { readonly found: Found; readonly target?: string } | "gone";

/** A layer that is no directory. */
export interface LayerView {
  /** @param path absolute, without links; undefined where the layer says nothing of it */
  readonly entry: (path: string) => LayerEntry | undefined;
}

/** MAXSYMLINKS of Linux (include/linux/namei.h): more links on one way are ELOOP. */
const maxLinks = 40;
/** PATH_MAX: what a link can make of a path. */
const maxPath = 4096;

export class RootTree {
  /** Topmost first. */
  private readonly layers: readonly LayerView[];

  /** @param layers directories and other layers, the topmost first */
  constructor(layers: readonly (string | LayerView)[]) {
    this.layers = layers.map((layer) => (typeof layer === "string" ? inDirectory(layer) : layer));
  }

  /**
   * What a path leads to; undefined when there is nothing, or a circle of links.
   * @param path absolute, in the root
   * @throws MosError `permission-denied`, `io-failed`
   */
  find(path: string): Found | undefined {
    const rest = path.split("/").reverse();
    let at: Found | undefined = this.entry("/")?.found;
    for (let links = 0; rest.length > 0 && at !== undefined; ) {
      const name = rest.pop() ?? "";
      if (name === "" || name === ".") {
        if (at.kind !== "directory") return undefined;
        continue;
      }
      if (at.kind !== "directory") return undefined;
      if (name === "..") {
        at = this.entry(join(at.path, ".."))?.found;
        continue;
      }
      const next = this.entry(join(at.path, name));
      if (next?.target === undefined) {
        at = next?.found;
        continue;
      }
      if (++links > maxLinks || next.target.length > maxPath) return undefined;
      if (next.target.startsWith("/")) at = this.entry("/")?.found;
      rest.push(...next.target.split("/").reverse());
    }
    return at;
  }

  /** One name, whose directory has no links in its path. */
  private entry(path: string): Exclude<LayerEntry, "gone"> | undefined {
    for (const layer of this.layers) {
      const entry = layer.entry(path);
      if (entry === "gone") return undefined;
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /**
   * Opens a file for reading; it is closed when `use` ends.
   * @throws MosError `permission-denied`, `io-failed`, and what `use` throws
   */
  read<T>(found: Found, use: (file: FileBytes) => T): T {
    const fd = open(found.host);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new MosError("io-failed", `${found.path} is no file`, { about: found.path });
      const { offset: start, size } = found.part ?? { offset: 0, size: stat.size };
      const read = (offset: number, length: number): Uint8Array =>
        readAt(fd, start + offset, Math.max(0, Math.min(length, size - offset)));
      return use({ size, read });
    } finally {
      closeSync(fd);
    }
  }
}

function inDirectory(layer: string): LayerView {
  return {
    entry: (path) => {
      const host = join(layer, path);
      const stat = statOf(host);
      if (stat === undefined) return undefined;
      // Overlayfs: a character device 0:0 says that what is below is gone.
      if (stat.isCharacterDevice() && stat.rdev === 0) return "gone";
      const kind = stat.isFile() ? "file" : stat.isDirectory() ? "directory" : "other";
      const found = { path, host, kind, isExecutable: (stat.mode & 0o111) !== 0 } as const;
      return stat.isSymbolicLink() ? { found, target: readlinkSync(host) } : { found };
    },
  };
}

function statOf(host: string): Stats | undefined {
  try {
    return lstatSync(host);
  } catch (error) {
    const code = systemCode(error);
    // ENOTDIR: an upper layer has a file where a lower one has a directory.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ENAMETOOLONG") return undefined;
    throw asMosError(error, host);
  }
}

function open(host: string): number {
  try {
    return openSync(host, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw asMosError(error, host);
  }
}

function readAt(fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const count = readSync(fd, bytes, at, length - at, offset + at);
    if (count === 0) break;
    at += count;
  }
  return bytes.subarray(0, at);
}
