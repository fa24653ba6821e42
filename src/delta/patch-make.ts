// Makes a patch between two layer files: which blocks are the same is found as a device finds it, and the others are
// packed by zstd with the older layer's other blocks as its dictionary. These are the older versions of what changed,
// so the dictionary is as small as the change, and so is the memory that a device needs for it.
import { open } from "node:fs/promises";
import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";
import { blockBytes, parseSuperblock, superblockBytes } from "../layers/superblock.ts";
import { parseVeritySuperblock, treeBlocks } from "../layers/verity.ts";
import { leafBytes, SaltedHasher, treeOf } from "../layers/verity-tree.ts";
import { readFully, readRange } from "../oci/blob-read.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import { searchLocalLayers } from "./local-blocks.ts";
import {
  encodeInstructions,
  maxDictionaryBlocks,
  maxSectionBlocks,
  type Run,
  type Section,
  someBlocks,
  uncopiedBlocks,
  windowLog,
} from "./patch-format.ts";
import { bytesOf, missingRanges, piecesOf } from "./plan.ts";
import { WantedBlocks } from "./wanted-blocks.ts";

/** A patch that is not smaller than this part of its layer is not worth publishing. */
const maxPart = 0.5;

/**
 * Makes the patch from one layer in a store to another.
 * @returns undefined when it would not be worth it, or when the new layer's tree is not the one that is computed
 * @throws MosError `layer-unsupported`, `verity-*`, `io-failed`
 */
export async function makePatch(
  store: Layout,
  from: Descriptor,
  to: Descriptor,
): Promise<Uint8Array | undefined> {
  const path = store.blobPath(to.digest);
  const hashOffset = await filesystemEnd(path, to);
  const tail = await readRange(path, to.size, hashOffset, to.size);
  const { salt, dataBlocks } = parseVeritySuperblock(tail, to.digest);
  if (dataBlocks * blockBytes !== hashOffset || from.digest === to.digest) return undefined;
  const leaves = await leavesOf(path, dataBlocks, salt);
  const tree = tail.subarray(blockBytes);
  if (
    tree.length !== treeBlocks(dataBlocks) * blockBytes ||
    Buffer.compare(tree, treeOf(leaves, salt)) !== 0
  ) {
    return undefined;
  }
  const wanted = new WantedBlocks(leaves);
  // Only its filesystem: its own tree would be noise in the dictionary.
  const oldPath = store.blobPath(from.digest);
  const oldEnd = await filesystemEnd(oldPath, from);
  await searchLocalLayers(store, [{ ...from, size: oldEnd }], wanted, salt);
  const missing = missingRanges(wanted);
  const runs = piecesOf(wanted, missing).map(
    (piece): Run => ({
      blocks: piece.end - piece.start,
      from: piece.kind === "local" ? piece.from : "patch",
    }),
  );
  const choice = { oldBlocks: oldEnd / blockBytes, runs };
  const uncopied = uncopiedBlocks(choice);
  const sections: Section[] = [];
  const frames: Buffer[] = [];
  for (const section of sectionsOf(bytesOf(missing) / blockBytes, bytesOf(uncopied) / blockBytes)) {
    const { dictionaryStart, dictionaryBlocks } = section;
    const frame = await pack(
      await readBlocks(path, someBlocks(missing, section.start, section.blocks)),
      await readBlocks(oldPath, someBlocks(uncopied, dictionaryStart, dictionaryBlocks)),
    );
    frames.push(frame);
    sections.push({ blocks: section.blocks, dictionaryStart, dictionaryBlocks, packedBytes: frame.length });
  }
  const veritySuperblock = tail.subarray(0, blockBytes);
  const instructions = encodeInstructions({ ...choice, sections, veritySuperblock });
  const patch = Buffer.concat([instructions, ...frames]);
  return patch.length > maxPart * to.size ? undefined : patch;
}

/**
 * Cuts the patch's own blocks into sections, each with the older blocks about the same place as its dictionary: where
 * all blocks differ, as in squashfs, files keep their order all the same.
 */
function sectionsOf(blocks: number, oldBlocks: number) {
  const count = Math.ceil(blocks / maxSectionBlocks);
  return Array.from({ length: count }, (_, i) => {
    const [start, end] = [Math.floor((i * blocks) / count), Math.floor(((i + 1) * blocks) / count)];
    const dictionaryBlocks = Math.min(oldBlocks, maxDictionaryBlocks);
    const middle = ((start + end) / 2 / blocks) * oldBlocks;
    const dictionaryStart = Math.max(
      0,
      Math.min(oldBlocks - dictionaryBlocks, Math.floor(middle - dictionaryBlocks / 2)),
    );
    return { start, blocks: end - start, dictionaryStart, dictionaryBlocks };
  });
}

/** Where the filesystem of a layer ends: whole blocks. */
async function filesystemEnd(path: string, { digest, size }: Descriptor): Promise<number> {
  const head = await readRange(path, size, 0, Math.min(size, superblockBytes));
  return parseSuperblock(head, size, digest).hashOffset;
}

async function leavesOf(path: string, dataBlocks: number, salt: Uint8Array): Promise<Uint8Array> {
  const leaves = new Uint8Array(dataBlocks * leafBytes);
  const hasher = new SaltedHasher(salt);
  const buffer = Buffer.alloc(256 * blockBytes);
  await using handle = await open(path);
  for (let block = 0; block < dataBlocks; ) {
    const piece = buffer.subarray(0, (dataBlocks - block) * blockBytes);
    await readFully(handle, piece, block * blockBytes, path);
    for (let at = 0; at < piece.length; at += blockBytes, block++) {
      leaves.set(hasher.digest(piece.subarray(at, at + blockBytes)), block * leafBytes);
    }
  }
  return leaves;
}

async function readBlocks(
  path: string,
  ranges: readonly { readonly start: number; readonly end: number }[],
): Promise<Buffer> {
  const bytes = Buffer.alloc(bytesOf(ranges));
  await using handle = await open(path);
  let at = 0;
  for (const { start, end } of ranges) {
    const part = bytes.subarray(at, at + (end - start) * blockBytes);
    await readFully(handle, part, start * blockBytes, path);
    at += part.length;
  }
  return bytes;
}

/**
 * zstd as small as it gets: the optimal parser with tables as large as what they are over. For 20 MB with a dictionary
 * of 40 MB half a minute and 1.5 GB.
 */
async function pack(literals: Buffer, dictionary: Buffer): Promise<Buffer> {
  const log = Math.max(17, Math.ceil(Math.log2(literals.length + dictionary.length + 1)));
  return await promisify(zstdCompress)(literals, {
    ...(dictionary.length === 0 ? {} : { dictionary }),
    pledgedSrcSize: literals.length,
    params: {
      [constants.ZSTD_c_compressionLevel]: 22,
      [constants.ZSTD_c_windowLog]: Math.min(windowLog, log),
      [constants.ZSTD_c_hashLog]: Math.min(26, log),
      [constants.ZSTD_c_chainLog]: Math.min(27, log + 1),
      [constants.ZSTD_c_targetLength]: 4096,
      [constants.ZSTD_c_enableLongDistanceMatching]: 1,
    },
  });
}
