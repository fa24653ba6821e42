// A second, independent making of verity trees, small and slow, for tests to compare with: all in memory.
import { createHash } from "node:crypto";
import type { VeritySuperblock } from "../../../src/layers/verity.ts";

const blockSize = 4096;

function hashOf(salt: Uint8Array, block: Uint8Array): Buffer {
  return createHash("sha256").update(salt).update(block).digest();
}

/** One block of the digests of up to 128 blocks, zero-filled. */
function nextLevel(blocks: readonly Uint8Array[], salt: Uint8Array): Buffer[] {
  const level: Buffer[] = [];
  for (let at = 0; at < blocks.length; at += 128) {
    const block = Buffer.alloc(blockSize);
    block.set(Buffer.concat(blocks.slice(at, at + 128).map((child) => hashOf(salt, child))));
    level.push(block);
  }
  return level;
}

/** The tree of whole data blocks: its bytes as stored, and its root hash in hex. */
export function buildTree(data: Uint8Array, salt: Uint8Array): { tree: Buffer; rootHash: string } {
  let level: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += blockSize) level.push(data.subarray(at, at + blockSize));
  const levels: Uint8Array[] = [];
  while (level.length > 1) {
    level = nextLevel(level, salt);
    levels.unshift(...level);
  }
  return {
    tree: Buffer.concat(levels),
    rootHash: hashOf(salt, level[0] ?? new Uint8Array()).toString("hex"),
  };
}

/** struct verity_sb, zero-filled to a block. */
export function encodeVeritySuperblock({ uuid, dataBlocks, salt }: VeritySuperblock): Buffer {
  const block = Buffer.alloc(blockSize);
  block.write("verity\0\0", 0, "latin1");
  block.writeUInt32LE(1, 8);
  block.writeUInt32LE(1, 12);
  block.set(uuid, 16);
  block.write("sha256", 32, "latin1");
  block.writeUInt32LE(blockSize, 64);
  block.writeUInt32LE(blockSize, 68);
  block.writeBigUInt64LE(BigInt(dataBlocks), 72);
  block.writeUInt16LE(salt.length, 80);
  block.set(salt, 88);
  return block;
}

/** The first block of a squashfs 4.0 image that says it has so many bytes; nothing can mount it. */
export function squashfsHead(bytesUsed: bigint): Buffer {
  const head = Buffer.alloc(blockSize);
  head.write("hsqs", 0, "latin1");
  head.writeUInt16LE(4, 28);
  head.writeBigUInt64LE(bytesUsed, 40);
  return head;
}

/** The first block of an EROFS image of so many blocks; nothing can mount it. */
export function erofsHead(blocks: number, blockBits: number): Buffer {
  const head = Buffer.alloc(blockSize);
  head.writeUInt32LE(0xe0f5e1e2, 1024);
  head.writeUInt8(blockBits, 1024 + 12);
  head.writeUInt32LE(blocks, 1024 + 36);
  return head;
}
