// Which blocks of a new layer are in older ones. A hash table in typed arrays: a layer has hundreds of thousands of
// blocks, and a map of strings would take a hundred bytes for each. Pure.
import { leafBytes } from "../layers/verity-tree.ts";

/** Says that a block is in no older layer. */
export const missing = -1;

/** Where the blocks of a new layer are found. */
export class WantedBlocks {
  /** 32 bytes each. */
  private readonly leaves: Buffer;
  /** Blocks of the new layer. */
  readonly count: number;
  /** Blocks that are found so far. */
  found = 0;
  /** For each block: the number of the older layer that has it, or `missing`. */
  private readonly layers: Int16Array;
  /** For each block: which block of that layer it is. */
  private readonly blocks: Int32Array;
  /** Open addressing: block number + 1, 0 where nothing is. Blocks with equal digests are in a chain behind the first. */
  private readonly slots: Int32Array;
  private readonly nextEqual: Int32Array;

  /** @param leaves digests of all blocks, authenticated: 32 bytes each */
  constructor(leaves: Uint8Array) {
    this.leaves = Buffer.from(leaves.buffer, leaves.byteOffset, leaves.byteLength);
    this.count = leaves.length / leafBytes;
    this.layers = new Int16Array(this.count).fill(missing);
    this.blocks = new Int32Array(this.count);
    this.nextEqual = new Int32Array(this.count).fill(missing);
    // At most half full.
    this.slots = new Int32Array(2 ** Math.ceil(Math.log2(Math.max(1, this.count)) + 1));
    for (let block = 0; block < this.count; block++) {
      const slot = this.slotOf(this.leaf(block));
      const first = (this.slots[slot] ?? 0) - 1;
      if (first >= 0) this.nextEqual[block] = this.nextEqual[first] ?? missing;
      if (first >= 0) this.nextEqual[first] = block;
      else this.slots[slot] = block + 1;
    }
  }

  /** The digest of a block. */
  leaf(block: number): Buffer {
    return this.leaves.subarray(block * leafBytes, (block + 1) * leafBytes);
  }

  /** Tells that a block of an older layer has this digest, under the salt of the new one. */
  offer(digest: Uint8Array, layer: number, oldBlock: number): void {
    const first = (this.slots[this.slotOf(digest)] ?? 0) - 1;
    // The first place is as good as any other.
    if (first < 0 || this.layers[first] !== missing) return;
    for (let block = first; block !== missing; block = this.nextEqual[block] ?? missing) {
      this.layers[block] = layer;
      this.blocks[block] = oldBlock;
      this.found++;
    }
  }

  /** Number of the older layer that has a block, or `missing`. */
  layerOf(block: number): number {
    return this.layers[block] ?? missing;
  }

  /** Which block of that layer it is. */
  oldBlockOf(block: number): number {
    return this.blocks[block] ?? 0;
  }

  /** The slot of the first block with a digest, or the free one where it would be. */
  private slotOf(digest: Uint8Array): number {
    const mask = this.slots.length - 1;
    // A digest is as good as random, so its first bytes are a hash. Who makes layers whose digests collide in them
    // makes the devices of his own product slow.
    const view = Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength);
    for (let slot = view.readUInt32LE(0) & mask; ; slot = (slot + 1) & mask) {
      const block = (this.slots[slot] ?? 0) - 1;
      if (block < 0 || this.leaf(block).equals(view)) return slot;
    }
  }
}
