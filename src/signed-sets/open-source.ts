// Where a set comes from: a directory, or an archive with a signature of its own, which is checked before anything of
// the archive is looked into, on a copy that nobody else can change.
import type { KeyObject } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { unpack } from "../archives/unpack.ts";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { fromText, signaturePath, toText } from "../signed-files/byte-path.ts";
import { digestFile, readIfThere } from "../signed-files/read-files.ts";
import { blobOf, checkSignature, maxSignatureFile } from "../signed-files/signature-file.ts";
import { makeDirectory, removeTree } from "../system/atomic-file.ts";
import { copyChecked } from "../system/copy-checked.ts";
import { createDirectory, openFile } from "../system/durable.ts";

/** Of what an archive unpacks to: container images are the largest part of it. */
const limits = { bytes: 16 * 1024 ** 3, entries: 100_000 };

/** SHA-512 of an archive whose signature holds. @throws MosError `signed-file-unsigned`, `signed-file-invalid` */
function verifiedDigest(archive: string, keys: readonly KeyObject[]): Buffer {
  const path = fromText(archive);
  const place = signaturePath(path);
  const signature = readIfThere(place, maxSignatureFile);
  if (signature === undefined) {
    throw new MosError("signed-file-unsigned", `cannot use ${archive}: there is no ${toText(place)}`, {
      about: archive,
    });
  }
  const sha512 = digestFile(path, false);
  const blob = blobOf(fromText(basename(archive)), { type: "regular", sha512 });
  if (!checkSignature(signature, blob, keys, true).isValid) {
    throw new MosError("signed-file-invalid", `cannot use ${archive}: no key's signature holds`, {
      about: archive,
    });
  }
  return sha512;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    throw new MosError("signed-source-unusable", `cannot find ${path}`, { about: path });
  }
}

/** Followed by the process and a number of its own. */
const unpackPrefix = ".unpack-";
let unpacked = 0;

/** Removes what processes have left that are no more. */
async function clearLeftovers(state: string): Promise<void> {
  for (const name of await readdir(state)) {
    if (!name.startsWith(unpackPrefix)) continue;
    const [pid = ""] = name.slice(unpackPrefix.length).split("-");
    const isRunning = existsSync(`/proc/${pid}`);
    if (!isRunning) await removeTree(join(state, name));
  }
}

/**
 * Runs `work` on the directory of a set.
 * @param source the directory, or a tar archive of one (plain, gzip or zstd) with a `.sig` beside it
 * @param state what is unpacked lies below it meanwhile
 * @throws MosError `signed-source-unusable`, `signed-file-unsigned`, `signed-file-invalid`, `archive-refused`
 */
export async function withSetTree<T>(
  source: string,
  keys: readonly KeyObject[],
  state: string,
  work: (tree: string) => Promise<T>,
): Promise<T> {
  if (await isDirectory(source)) return await work(source);
  const sha512 = verifiedDigest(source, keys);
  await makeDirectory(state, 0o700);
  await clearLeftovers(state);
  const place = join(state, `${unpackPrefix}${process.pid}-${++unpacked}`);
  await removeTree(place);
  await createDirectory(place, 0o700);
  try {
    const copy = join(place, "archive");
    {
      await using file = await openFile(
        copy,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
        0o600,
      );
      if (!(await copyChecked(source, file, sha512))) {
        throw new MosError("signed-file-invalid", `cannot use ${source}: it changes while it is read`, {
          about: source,
        });
      }
    }
    await unpack(copy, join(place, "tree"), limits);
    return await work(join(place, "tree"));
  } finally {
    await removeTree(place);
  }
}
