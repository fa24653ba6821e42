// The directory that a set is installed in: opened without following links, and looked at.
import { constants } from "node:fs";
import { access, lstat, readlink } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode } from "../errors/mos-error.ts";
import { fromText } from "../signed-files/byte-path.ts";
import { digestFile } from "../signed-files/read-files.ts";
import { type OpenDirectory, openBeneath } from "../system/beneath.ts";
import { parentOf, type SetEntry, stagePrefix } from "./set-manifest.ts";
import { type Live, ownershipOf } from "./steps.ts";

/** A place in it, for as long as nothing else of it is asked for. */
interface Spot {
  readonly directory: OpenDirectory;
  readonly at: string;
}

const nowhere: Live = { kind: "none", isAsListed: false, ownership: { mode: 0, uid: 0, gid: 0 } };

/** One destination. Holds the directory open that was asked for last: paths come sorted, so it is mostly the next. */
export class Destination {
  private readonly root: string;
  private readonly names: readonly string[];
  private readonly set: string;
  private last: { readonly path: string; readonly directory: OpenDirectory } | undefined;
  /** Directories whose names were changed. */
  readonly touched = new Set<string>();

  /** @param root where `destination` is to be found; "/" but for images */
  constructor(root: string, destination: string, set: string) {
    this.root = root;
    this.names = destination.split("/").filter((name) => name !== "");
    this.set = set;
  }

  /** The same destination, with another directory held open. */
  another(): Destination {
    return new Destination(this.root, `/${this.names.join("/")}`, this.set);
  }

  /** Name of the directory for what comes and goes. */
  get stageName(): string {
    return `${stagePrefix}${this.set}`;
  }

  /** Makes the destination where there is none. */
  async create(): Promise<void> {
    await (await openBeneath(this.root, this.names, 0o755)).close();
  }

  /** Opens a directory of it; undefined where it is missing. @throws MosError `signed-destination-unsafe` */
  async open(path: string): Promise<OpenDirectory | undefined> {
    if (this.last?.path === path) return this.last.directory;
    await this.close();
    const names = path === "" ? [] : path.split("/");
    try {
      const directory = await openBeneath(this.root, [...this.names, ...names]);
      this.last = { path, directory };
      return directory;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** The spot of a path; undefined where its directory is missing. */
  async spot(path: string): Promise<Spot | undefined> {
    const directory = await this.open(parentOf(path));
    if (directory === undefined) return undefined;
    return { directory, at: directory.at(path.slice(path.lastIndexOf("/") + 1)) };
  }

  /** Forgets what is open: it may not be where it was. */
  async close(): Promise<void> {
    const { last } = this;
    this.last = undefined;
    await last?.directory.close();
  }

  /** What is at a path, next to what an entry says. */
  async look(path: string, entry: SetEntry | undefined): Promise<Live> {
    const spot = await this.spot(path);
    if (spot === undefined) return nowhere;
    const stat = await lstat(spot.at).catch((error: unknown) => {
      if (systemCode(error) === "ENOENT") return undefined;
      throw error;
    });
    if (stat === undefined) return nowhere;
    const ownership = { mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
    const isOwnedAs = (one: Exclude<SetEntry, { type: "symlink" }>): boolean => {
      const listed = ownershipOf(one);
      return listed.mode === ownership.mode && listed.uid === ownership.uid && listed.gid === ownership.gid;
    };
    if (stat.isSymbolicLink()) {
      const isAsListed = entry?.type === "symlink" && (await readlink(spot.at)) === entry.target;
      return { kind: "symlink", isAsListed, ownership };
    }
    if (stat.isDirectory()) {
      return { kind: "directory", isAsListed: entry?.type === "directory" && isOwnedAs(entry), ownership };
    }
    if (!stat.isFile()) return { kind: "other", isAsListed: false, ownership };
    const isAsListed =
      entry?.type === "file" &&
      isOwnedAs(entry) &&
      stat.size === entry.size &&
      digestFile(fromText(spot.at), false).toString("hex") === entry.sha512;
    return { kind: "file", isAsListed, ownership };
  }
}

/**
 * Looks at everything that is listed or owned.
 * @returns what is at a path
 */
export async function lookAll(
  destination: Destination,
  listed: readonly SetEntry[],
  owned: readonly SetEntry[],
): Promise<(path: string) => Live> {
  const entries = new Map<string, SetEntry | undefined>(owned.map(({ path }) => [path, undefined]));
  for (const entry of listed) entries.set(entry.path, entry);
  const live = new Map<string, Live>();
  // What is in something that is no directory of ours is not looked at: nothing is there yet, or it is in the way.
  for (const path of [...entries.keys()].sort()) {
    const above = live.get(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
    if (above !== undefined && above.kind !== "directory") {
      live.set(path, { kind: "none", isAsListed: false, ownership: above.ownership });
    } else {
      live.set(path, await destination.look(path, entries.get(path)));
    }
  }
  return (path) =>
    live.get(path) ?? { kind: "none", isAsListed: false, ownership: { mode: 0, uid: 0, gid: 0 } };
}

/** Whether a destination, or what there is on the way to it, is on a file system that takes no changes now. */
export async function isReadOnly(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return false;
  } catch (error) {
    if (systemCode(error) === "ENOENT" && path !== "/") return await isReadOnly(dirname(path));
    return systemCode(error) === "EROFS";
  }
}
