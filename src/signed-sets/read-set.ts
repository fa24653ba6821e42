// A signed set as it lies in a directory: its list, once the signature holds, and whether the files are those of the
// list. Nothing of it is used before.
import type { KeyObject } from "node:crypto";
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { fromText } from "../signed-files/byte-path.ts";
import { blobOf, checkSignature, maxSignatureFile } from "../signed-files/signature-file.ts";
import {
  manifestName,
  maxManifest,
  parseSetManifest,
  type SetEntry,
  type SetManifest,
  signatureName,
  signedPrefix,
} from "./set-manifest.ts";

/** What a set's signature is made over. */
export function blobOfManifest(manifest: Uint8Array): Buffer {
  const sha512 = createHash("sha512").update(manifest).digest();
  return blobOf(fromText(`${signedPrefix}/${manifestName}`), { type: "regular", sha512 });
}

async function readLimited(path: string, limit: number): Promise<Buffer | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    await using handle = await open(path, flags);
    const stat = await handle.stat();
    if (stat.isFile() && stat.size <= limit) {
      const bytes = Buffer.alloc(stat.size);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
      return bytes.subarray(0, bytesRead);
    }
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (systemCode(error) !== "ELOOP") throw error;
  }
  throw new MosError("set-invalid", `cannot use ${path}: it is no file, or has more than ${limit} bytes`, {
    about: path,
  });
}

interface SignedSet {
  readonly manifest: SetManifest;
  /** SHA-512 of the list, in hexadecimal digits. */
  readonly digest: string;
}

/**
 * Reads the list of a set, and checks its signature first.
 * @throws MosError `signed-file-unsigned`, `signed-file-invalid`, `set-invalid`
 */
export async function readSignedSet(tree: string, keys: readonly KeyObject[]): Promise<SignedSet> {
  const path = join(tree, manifestName);
  const manifest = await readLimited(path, maxManifest);
  if (manifest === undefined) {
    throw new MosError("set-invalid", `cannot find a signed set in ${tree}: there is no ${manifestName}`, {
      about: tree,
    });
  }
  const signature = await readLimited(join(tree, signatureName), maxSignatureFile);
  if (signature === undefined) {
    throw new MosError("signed-file-unsigned", `cannot use the set in ${tree}: it has no signature`, {
      about: path,
    });
  }
  if (!checkSignature(signature, blobOfManifest(manifest), keys, true).isValid) {
    throw new MosError("signed-file-invalid", `cannot use the set in ${tree}: no key's signature holds`, {
      about: path,
    });
  }
  const digest = createHash("sha512").update(manifest).digest("hex");
  const parsed = parseSetManifest(manifest);
  if (parsed.app?.unlisted === true) {
    throw new MosError("set-invalid", `cannot use the set in ${tree}: its list says that it is none`, {
      about: path,
    });
  }
  return { manifest: parsed, digest };
}

/** Paths of everything in a set but its own list. */
export async function pathsIn(tree: string, limit: number): Promise<readonly string[]> {
  const found: string[] = [];
  const visit = async (below: string): Promise<void> => {
    for (const entry of await readdir(join(tree, below), { withFileTypes: true })) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      if (path === manifestName || path === signatureName) continue;
      found.push(path);
      if (found.length > limit) return;
      if (entry.isDirectory()) await visit(path);
    }
  };
  await visit("");
  return found.sort();
}

async function problemOf(tree: string, entry: SetEntry): Promise<string | undefined> {
  const path = join(tree, entry.path);
  const stat = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  });
  if (stat === undefined) return "is missing";
  switch (entry.type) {
    case "directory":
      return stat.isDirectory() ? undefined : "is no directory";
    case "file":
      if (!stat.isFile()) return "is no file";
      return stat.size === entry.size ? undefined : `has ${stat.size} bytes instead of ${entry.size}`;
    case "symlink":
      if (!stat.isSymbolicLink()) return "is no link";
      return (await readlink(path)) === entry.target ? undefined : "leads elsewhere";
  }
}

/** @throws MosError `set-mixed` naming what does not fit */
export function refuseMixed(problems: readonly string[], tree: string): void {
  if (problems.length === 0) return;
  throw new MosError("set-mixed", `cannot use the set in ${tree}: its files are not those of its list`, {
    about: tree,
    problems: problems.slice(0, 20),
  });
}

/**
 * Whether a directory holds what the list says, and nothing else; of files the length alone, for their content is
 * checked while it is copied.
 * @param withImages whether what is carried along has to be there too
 * @throws MosError `set-mixed`
 */
export async function checkTree(
  tree: string,
  { entries, carried = [] }: SetManifest,
  withImages = true,
): Promise<void> {
  const all = withImages ? [...entries, ...carried] : entries;
  const listed = new Set(all.map(({ path }) => path));
  const problems: string[] = [];
  for (const path of await pathsIn(tree, all.length)) {
    if (!listed.has(path)) problems.push(`${path} is not listed`);
  }
  for (const entry of all) {
    const why = await problemOf(tree, entry);
    if (why !== undefined) problems.push(`${entry.path} ${why}`);
  }
  refuseMixed(problems, tree);
}
