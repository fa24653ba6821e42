// Making a signed set of a directory: the list of all that is in it, and the signature.
import type { KeyObject } from "node:crypto";
import { lstat, readlink } from "node:fs/promises";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { fromText } from "../signed-files/byte-path.ts";
import { digestFile } from "../signed-files/read-files.ts";
import { makeSignature } from "../signed-files/signature-file.ts";
import { writeFileAtomic } from "../system/atomic-file.ts";
import type { Audience } from "./audience.ts";
import { blobOfManifest, pathsIn } from "./read-set.ts";
import {
  type App,
  isCarried,
  manifestName,
  maxEntries,
  type SetEntry,
  type SetManifest,
  signatureName,
  writeSetManifest,
} from "./set-manifest.ts";

/** What a set says of itself besides its files. */
export interface SetDescription {
  readonly name: string;
  readonly serial: number;
  readonly destination: string;
  /** Who owns everything in it. */
  readonly uid: number;
  readonly gid: number;
  /** For whom it is, of a set in levels. */
  readonly for?: Audience;
  /** What makes an app of it; its images lie in the tree. */
  readonly app?: App;
}

type Owner = Pick<SetDescription, "uid" | "gid">;

/** Everything in a directory but a list of it. @throws MosError `signed-source-unusable` */
export async function listTree(tree: string, owner: Owner): Promise<SetEntry[]> {
  const entries: SetEntry[] = [];
  for (const path of await pathsIn(tree, maxEntries)) entries.push(await entryOf(tree, path, owner));
  return entries;
}

async function entryOf(tree: string, path: string, { uid, gid }: Owner): Promise<SetEntry> {
  const at = join(tree, path);
  const stat = await lstat(at);
  // No set-user-ID, no set-group-ID, no sticky bit: what a set installs runs with no rights of its own.
  const mode = `0${(stat.mode & 0o777).toString(8).padStart(3, "0")}`;
  if (stat.isSymbolicLink()) return { path, type: "symlink", target: await readlink(at) };
  if (stat.isDirectory()) return { path, type: "directory", mode, uid, gid };
  if (!stat.isFile()) {
    throw new MosError("signed-source-unusable", `cannot sign ${at}: it is no file, link or directory`, {
      about: at,
    });
  }
  let size = 0;
  const sha512 = digestFile(fromText(at), false, (bytes) => {
    size += bytes.length;
  }).toString("hex");
  return { path, type: "file", mode, uid, gid, size, sha512 };
}

/**
 * Writes the list and the signature into the top directory of a set; same files, same bytes.
 * @throws MosError `set-invalid` for names and links that a device would refuse
 */
export async function makeSet(
  tree: string,
  description: SetDescription,
  key: KeyObject,
): Promise<SetManifest> {
  const entries = await listTree(tree, description);
  const { name, serial, destination, app, for: audience } = description;
  const manifest: SetManifest = {
    ...{ type: "mos.signed-set", version: 1, name, serial, destination },
    ...(audience === undefined ? {} : { for: audience }),
    entries: entries.filter(({ path }) => !isCarried(path)),
    ...(app === undefined ? {} : { app, carried: entries.filter(({ path }) => isCarried(path)) }),
  };
  const bytes = writeSetManifest(manifest);
  await writeFileAtomic(join(tree, manifestName), bytes);
  await writeFileAtomic(join(tree, signatureName), makeSignature(blobOfManifest(bytes), key));
  return manifest;
}
