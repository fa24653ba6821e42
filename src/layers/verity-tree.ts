// The digests of a dm-verity tree, level by level (kernel, Documentation/admin-guide/device-mapper/verity.rst): a
// tree is believed only as far as its root hash leads, and can be made again from the digests of its leaves. Pure.
import { hash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { blockBytes } from "./superblock.ts";
import { treeBlocks, type VeritySuperblock } from "./verity.ts";

/** Bytes of one digest in a tree: sha256. */
export const leafBytes = 32;
const digestsPerBlock = blockBytes / leafBytes;

/** Hashes one block after another under one salt, without memory for each. */
export class SaltedHasher {
  private readonly input: Buffer;
  private readonly saltBytes: number;

  constructor(salt: Uint8Array) {
    this.saltBytes = salt.length;
    this.input = Buffer.alloc(salt.length + blockBytes);
    this.input.set(salt);
  }

  /** sha256 of the salt and a block of 4096 bytes, as hash type 1 has it. */
  digest(block: Uint8Array): Buffer {
    this.input.set(block, this.saltBytes);
    return hash("sha256", this.input, "buffer");
  }
}

/** Blocks of each level, from the leaves up; none for a single data block, which is its own top. */
function levelsOf(dataBlocks: number): number[] {
  const levels: number[] = [];
  for (let below = dataBlocks; below > 1; ) {
    below = Math.ceil(below / digestsPerBlock);
    levels.push(below);
  }
  return levels;
}

/**
 * The digests of all data blocks, from a tree that its root hash vouches for. Every block of the tree is checked
 * against the level above it before anything in it is used.
 * @param tree the bytes after the verity superblock; what follows the tree is not looked at
 * @param rootHash 64 lower-case hex digits, signed
 * @returns 32 bytes for each data block
 * @throws MosError `verity-mismatch`
 */
export function authenticateTree(
  tree: Uint8Array,
  { dataBlocks, salt }: Pick<VeritySuperblock, "dataBlocks" | "salt">,
  rootHash: string,
  about: string,
): Uint8Array {
  if (tree.length < treeBlocks(dataBlocks) * blockBytes) {
    throw new MosError("verity-mismatch", `the verity tree of the layer ${about} is cut off`, { about });
  }
  const hasher = new SaltedHasher(salt);
  let digests: Uint8Array = Buffer.from(rootHash, "hex");
  let at = 0;
  for (const blocks of levelsOf(dataBlocks).reverse()) {
    const level = tree.subarray(at, at + blocks * blockBytes);
    for (let i = 0; i < blocks; i++) {
      const block = level.subarray(i * blockBytes, (i + 1) * blockBytes);
      const expected = digests.subarray(i * leafBytes, (i + 1) * leafBytes);
      if (Buffer.compare(hasher.digest(block), expected) !== 0) {
        throw new MosError(
          "verity-mismatch",
          `the verity tree of the layer ${about} does not lead to its root hash: block ${at / blockBytes + i} was altered`,
          { about },
        );
      }
    }
    digests = level;
    at += level.length;
  }
  return digests.subarray(0, dataBlocks * leafBytes);
}

/**
 * The tree over data blocks with these digests, as it is stored: levels from the top down, each zero-filled to
 * whole blocks.
 */
export function treeOf(leaves: Uint8Array, salt: Uint8Array): Uint8Array {
  const dataBlocks = leaves.length / leafBytes;
  const hasher = new SaltedHasher(salt);
  const tree = new Uint8Array(treeBlocks(dataBlocks) * blockBytes);
  let digests = leaves;
  let end = tree.length;
  for (const blocks of levelsOf(dataBlocks)) {
    const level = tree.subarray(end - blocks * blockBytes, end);
    level.set(digests);
    const above = new Uint8Array(blocks * leafBytes);
    for (let i = 0; i < blocks; i++) {
      above.set(hasher.digest(level.subarray(i * blockBytes, (i + 1) * blockBytes)), i * leafBytes);
    }
    digests = above;
    end -= level.length;
  }
  return tree;
}
