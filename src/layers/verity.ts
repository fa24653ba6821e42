// The dm-verity superblock and the top of its hash tree (cryptsetup, "DMVerity", on-disk format version 1, and
// Documentation/admin-guide/device-mapper/verity.rst of the kernel). Pure.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { blockBytes } from "./superblock.ts";

/** Bytes of struct verity_sb; it occupies the first block of the hash area. */
const veritySuperblockBytes = 512;

/** sha256, zero-padded to a power of two, which it is already: 128 of them fill a block. */
const digestBytes = 32;
const digestsPerBlock = blockBytes / digestBytes;
const maxSaltBytes = 256;
/** So that the size in bytes is a number that JavaScript holds exactly. */
const maxDataBlocks = BigInt(Math.floor(Number.MAX_SAFE_INTEGER / blockBytes));

const magic = "verity\0\0";
const at = {
  version: 8,
  hashType: 12,
  uuid: 16,
  algorithm: 32,
  dataBlockSize: 64,
  hashBlockSize: 68,
  dataBlocks: 72,
  saltSize: 80,
  salt: 88,
} as const;
const algorithmBytes = 32;
const algorithm = "sha256";

/** What of the superblock may differ between layers. The rest is fixed: version 1, type 1, sha256, 4096-byte blocks. */
export interface VeritySuperblock {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  /** Data blocks that the tree covers, of 4096 bytes. */
  readonly dataBlocks: number;
  /** 0 to 256 bytes, hashed before each block. */
  readonly salt: Uint8Array;
}

function mismatch(what: string, about: string): MosError {
  return new MosError("verity-mismatch", `cannot trust the layer ${about}: ${what}`, { about });
}

/**
 * Parses a verity superblock.
 * @param bytes the first 512 bytes of the hash area, or more
 * @param about the layer, for messages
 * @throws MosError `verity-missing` when there is none, `verity-mismatch` when it is not of the one kind that is used
 */
export function parseVeritySuperblock(bytes: Uint8Array, about: string): VeritySuperblock {
  const block = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (block.length < veritySuperblockBytes || block.toString("latin1", 0, magic.length) !== magic) {
    throw new MosError("verity-missing", `the layer ${about} has no verity tree after its filesystem`, {
      about,
    });
  }
  if (block.readUInt32LE(at.version) !== 1 || block.readUInt32LE(at.hashType) !== 1) {
    throw mismatch("its verity superblock is of another version than 1", about);
  }
  const name = block.toString("latin1", at.algorithm, at.algorithm + algorithmBytes);
  if (name !== algorithm.padEnd(algorithmBytes, "\0")) {
    throw mismatch(`its verity tree is made with another hash than ${algorithm}`, about);
  }
  if (
    block.readUInt32LE(at.dataBlockSize) !== blockBytes ||
    block.readUInt32LE(at.hashBlockSize) !== blockBytes
  ) {
    throw mismatch(`its verity tree has other blocks than of ${blockBytes} bytes`, about);
  }
  const dataBlocks = block.readBigUInt64LE(at.dataBlocks);
  if (dataBlocks < 1n || dataBlocks > maxDataBlocks) {
    throw mismatch(`its verity tree covers ${dataBlocks} blocks`, about);
  }
  const saltSize = block.readUInt16LE(at.saltSize);
  if (saltSize > maxSaltBytes) throw mismatch(`its verity salt has ${saltSize} bytes`, about);
  return {
    uuid: Uint8Array.from(block.subarray(at.uuid, at.algorithm)),
    dataBlocks: Number(dataBlocks),
    salt: Uint8Array.from(block.subarray(at.salt, at.salt + saltSize)),
  };
}

/**
 * Blocks of the tree over so many data blocks. Its levels are stored from the top down, so the top block is the
 * first after the superblock's; a single data block has no tree and is its own top.
 */
export function treeBlocks(dataBlocks: number): number {
  let blocks = 0;
  for (let level = dataBlocks; level > 1; blocks += level) level = Math.ceil(level / digestsPerBlock);
  return blocks;
}

/** sha256 of salt and block, as hash type 1 has it: lower-case hex. */
export function saltedHash(salt: Uint8Array, block: Uint8Array): string {
  return createHash("sha256").update(salt).update(block).digest("hex");
}
