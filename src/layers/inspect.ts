// Looks at a layer file before it is mounted: what it is, where its verity tree begins, and that the tree's top
// leads to the signed root hash. Three small reads whatever the layer's size, because every boot does this for
// every layer; the rest is dm-verity's, block by block. Synchronous, which is the faster way for reads this small.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import type { Descriptor } from "../oci/model.ts";
import { rootHashOf } from "./media-type.ts";
import { blockBytes, type FilesystemKind, parseSuperblock, superblockBytes } from "./superblock.ts";
import { parseVeritySuperblock, saltedHash, treeBlocks } from "./verity.ts";

/** What is needed to open a layer. */
export interface InspectedLayer {
  readonly kind: FilesystemKind;
  /** Where in the file the verity superblock is: bytes. */
  readonly hashOffset: number;
  /** Blocks of 4096 bytes that are verified; the filesystem is in them. */
  readonly dataBlocks: number;
}

/**
 * Inspects a layer file. Its kind is found in the file: stacker's media types do not always tell.
 * @param descriptor of the layer, from a verified image manifest
 * @throws MosError `layer-unsupported`, `verity-missing`, `verity-mismatch`, `size-mismatch`, `not-found`,
 * `state-invalid` (not a regular file), `io-failed`
 */
export async function inspectLayer(path: string, descriptor: Descriptor): Promise<InspectedLayer> {
  const rootHash = rootHashOf(descriptor);
  const fd = openLayer(path);
  try {
    return inspect(fd, path, descriptor, rootHash);
  } catch (error) {
    throw asMosError(error, path);
  } finally {
    closeSync(fd);
  }
}

function openLayer(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") {
      throw new MosError("not-found", `the layer ${path} is not there`, {
        about: path,
        hint: "mosctl update REF fetches it again.",
        cause: error,
      });
    }
    if (code === "ELOOP") throw notRegular(path);
    throw asMosError(error, path);
  }
}

function notRegular(path: string): MosError {
  return new MosError("state-invalid", `cannot open the layer ${path}: it is not a regular file`, {
    about: path,
  });
}

function inspect(fd: number, path: string, descriptor: Descriptor, rootHash: string): InspectedLayer {
  const about = descriptor.digest;
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw notRegular(path);
  if (stat.size !== descriptor.size) {
    throw new MosError(
      "size-mismatch",
      `the layer ${path} has ${stat.size} bytes, not the ${descriptor.size} that were signed`,
      { about },
    );
  }
  const { kind, hashOffset } = parseSuperblock(readAt(fd, 0, superblockBytes), stat.size, about);
  // The verity superblock has a block of its own, and the top block of the tree is the next.
  const hashArea = readAt(fd, hashOffset, 2 * blockBytes);
  const { dataBlocks, salt } = parseVeritySuperblock(hashArea, about);
  // All of the filesystem must be covered, and nothing of the tree by itself: what is beyond is not verified.
  if (dataBlocks * blockBytes !== hashOffset) {
    throw new MosError(
      "verity-mismatch",
      `the verity tree of the layer ${about} covers ${dataBlocks} blocks, its ${kind} has ${hashOffset / blockBytes}`,
      { about },
    );
  }
  const treeEnd = hashOffset + (1 + treeBlocks(dataBlocks)) * blockBytes;
  if (treeEnd > stat.size) {
    throw new MosError("verity-mismatch", `the verity tree of the layer ${about} is cut off`, { about });
  }
  const top =
    treeBlocks(dataBlocks) === 0 ? readAt(fd, 0, blockBytes) : hashArea.subarray(blockBytes, 2 * blockBytes);
  const actual = saltedHash(salt, top);
  if (actual !== rootHash) {
    throw new MosError(
      "verity-mismatch",
      `the verity tree of the layer ${about} has the root hash ${actual}, not the signed ${rootHash}`,
      { about },
    );
  }
  return { kind, hashOffset, dataBlocks };
}

/** Up to `length` bytes; fewer only at the end of the file. */
function readAt(fd: number, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const read = readSync(fd, bytes, at, length - at, position + at);
    if (read === 0) break;
    at += read;
  }
  return bytes.subarray(0, at);
}
