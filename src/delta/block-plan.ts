// What is to be fetched of a new layer: its verity tree is read first, from the end of the blob, and authenticated by
// the signed root hash; then the digests in it name every block that older layers may have.
import { MosError } from "../errors/mos-error.ts";
import { rootHashOf } from "../layers/media-type.ts";
import { blockBytes, parseSuperblock, superblockBytes } from "../layers/superblock.ts";
import { parseVeritySuperblock, treeBlocks } from "../layers/verity.ts";
import { authenticateTree } from "../layers/verity-tree.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import { searchLocalLayers } from "./local-blocks.ts";
import { type BlockRange, bytesOf, defaultPlanLimits, joinRanges, missingRanges } from "./plan.ts";
import { readRanges } from "./read-ranges.ts";
import { WantedBlocks } from "./wanted-blocks.ts";

/**
 * Bytes of a tree that are held in memory: it has 32 for each 4096 of the layer, so this is enough for 8 GiB. A
 * larger layer is fetched whole.
 */
const maxTailBytes = 64 * 1024 * 1024;

/** A new layer whose blocks are known by their digests, and where they are. */
export interface BlockPlan {
  readonly wanted: WantedBlocks;
  readonly salt: Uint8Array;
  /** The first block, which was needed to find the tree. */
  readonly head: Uint8Array;
  /** Everything from the verity superblock on. */
  readonly tail: Uint8Array;
  /** Ranges that are fetched, without the first block. */
  readonly fetched: readonly BlockRange[];
  /** Bytes of these ranges. */
  readonly fetchedBytes: number;
}

/** Bytes of everything after the data blocks of a layer that `packLayer` made, from its size alone. */
export function treeBytesOf({ size }: Descriptor): number {
  return Math.ceil(size / blockBytes / 128) * blockBytes;
}

/**
 * Reads the tree of a layer, and looks for its blocks in the older ones.
 * @throws MosError `verity-mismatch`, `verity-missing`, `layer-unsupported`, `too-large`, and what reading throws
 */
export async function planBlocks(
  store: Layout,
  images: Pick<Repository, "blobRange">,
  layer: Descriptor,
  olderLayers: readonly Descriptor[],
): Promise<BlockPlan> {
  const about = layer.digest;
  const rootHash = rootHashOf(layer);
  const head = await images.blobRange(layer, 0, Math.min(superblockBytes, layer.size));
  const { hashOffset } = parseSuperblock(head, layer.size, about);
  const tailBytes = layer.size - hashOffset;
  if (tailBytes > maxTailBytes) {
    throw new MosError("too-large", `the verity tree of the layer ${about} has ${tailBytes} bytes`, {
      about,
    });
  }
  const tail = Buffer.allocUnsafeSlow(tailBytes);
  for await (const { start, bytes } of readRanges(images, layer, [{ start: hashOffset, end: layer.size }])) {
    tail.set(bytes, start - hashOffset);
  }
  const superblock = parseVeritySuperblock(tail, about);
  const { dataBlocks, salt } = superblock;
  const areaBytes = (1 + treeBlocks(dataBlocks)) * blockBytes;
  if (dataBlocks * blockBytes !== hashOffset || areaBytes > tailBytes) {
    throw new MosError("verity-mismatch", `the verity tree of the layer ${about} is not over all of it`, {
      about,
    });
  }
  const leaves = authenticateTree(tail.subarray(blockBytes), superblock, rootHash, about);
  const wanted = new WantedBlocks(leaves);
  await searchLocalLayers(store, olderLayers, wanted, salt);
  const fetched = joinRanges(
    missingRanges(wanted).flatMap(({ start, end }) =>
      end === 1 ? [] : [{ start: Math.max(1, start), end }],
    ),
    defaultPlanLimits,
  );
  return { wanted, salt, head, tail, fetched, fetchedBytes: bytesOf(fetched) };
}
