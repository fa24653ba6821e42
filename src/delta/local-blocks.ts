// Looks through older layers for the blocks of a new one. Their own verity trees are of no use: each layer has a
// salt of its own, and what a tree says need not be what is on the disk today. So all blocks are hashed again.
import { blockBytes } from "../layers/superblock.ts";
import { SaltedHasher } from "../layers/verity-tree.ts";
import { pieceBytes } from "../oci/blob-read.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import { OlderLayer } from "./older-layer.ts";
import type { WantedBlocks } from "./wanted-blocks.ts";

/**
 * Offers all whole blocks of the older layers, until every wanted block is found. A layer that cannot be read is
 * passed over: it is only one place of several.
 * @param salt of the new layer
 */
export async function searchLocalLayers(
  store: Layout,
  olderLayers: readonly Descriptor[],
  wanted: WantedBlocks,
  salt: Uint8Array,
): Promise<void> {
  const hasher = new SaltedHasher(salt);
  const buffer = Buffer.allocUnsafeSlow(pieceBytes);
  for (const [number, layer] of olderLayers.entries()) {
    if (wanted.found === wanted.count) return;
    await searchLayer(store.blobPath(layer.digest), layer.size, buffer, (block, at) => {
      wanted.offer(hasher.digest(block), number, at);
    });
  }
}

async function searchLayer(
  path: string,
  size: number,
  buffer: Buffer,
  offer: (block: Buffer, at: number) => void,
): Promise<void> {
  try {
    await using layer = await OlderLayer.open(path);
    // One that is cut off has fewer.
    const bytes = Math.min(size, await layer.size());
    const end = bytes - (bytes % blockBytes);
    for (let position = 0; position < end; position += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, end - position));
      await layer.read(piece, position);
      for (let at = 0; at < piece.length; at += blockBytes) {
        offer(piece.subarray(at, at + blockBytes), (position + at) / blockBytes);
      }
    }
  } catch {
    // What it offered before may be used; the whole is verified in the end.
  }
}
