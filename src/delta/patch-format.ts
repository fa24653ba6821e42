// The file of a patch (docs/reference/layer-patch.md): how the data blocks of a new layer are put together from those
// of an older one and from the patch's own. The verity tree is not in it: who has the blocks can compute it. Pure, but
// for zstd. Nothing of a patch is trusted: its numbers are only believed within bounds.
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { MosError } from "../errors/mos-error.ts";
import { blockBytes } from "../layers/superblock.ts";
import { treeBlocks } from "../layers/verity.ts";
import type { Descriptor } from "../oci/model.ts";

const magic = "mospatch";
const version = 1;
/** Magic, version, and the bytes of the instructions as they are stored. */
export const patchHeadBytes = 16;

/** Bytes of the instructions, stored; and unpacked. Those of a real update of 600 MB are 20 KiB, and 10 times that. */
const maxStoredInstructions = 4 * 1024 * 1024;
const maxInstructions = 16 * 1024 * 1024;

/**
 * Blocks of the dictionary: 64 MiB. A device holds it twice (its own copy and zstd's), and zstd's window besides.
 */
export const maxDictionaryBlocks = 16 * 1024;
/** zstd's window, 64 MiB, so that no frame makes a device take more. */
export const windowLog = 26;

/** Stands for the place in the older layer when blocks are in the patch itself. */
const literal = 0xffff_ffff;

/** Blocks that follow one another: in the older layer from `from` on, or in the patch. */
export interface Run {
  readonly blocks: number;
  readonly from: number | "patch";
}

export interface Instructions {
  /** Blocks of the older layer that take part: its first ones. */
  readonly oldBlocks: number;
  /** The dictionary: so many of these that no run names, from the first on. */
  readonly dictionaryBlocks: number;
  /** All data blocks of the new layer, in order. */
  readonly runs: readonly Run[];
  /** The block before the tree, whole. */
  readonly veritySuperblock: Uint8Array;
}

function invalid(what: string, about: string): MosError {
  return new MosError("document-invalid", `cannot use the patch ${about}: ${what}`, { about });
}

/** The head of a patch and its instructions; the compressed blocks follow. */
export function encodeInstructions(instructions: Instructions): Uint8Array {
  const { oldBlocks, dictionaryBlocks, runs, veritySuperblock } = instructions;
  const plain = Buffer.alloc(12 + runs.length * 8 + blockBytes);
  plain.writeUInt32LE(oldBlocks, 0);
  plain.writeUInt32LE(dictionaryBlocks, 4);
  plain.writeUInt32LE(runs.length, 8);
  for (const [i, { blocks, from }] of runs.entries()) {
    plain.writeUInt32LE(blocks, 12 + i * 8);
    plain.writeUInt32LE(from === "patch" ? literal : from, 16 + i * 8);
  }
  plain.set(veritySuperblock, plain.length - blockBytes);
  const stored = zstdCompressSync(plain, { params: { [constants.ZSTD_c_compressionLevel]: 19 } });
  const head = Buffer.alloc(patchHeadBytes);
  head.write(magic, 0, "latin1");
  head.writeUInt32LE(version, 8);
  head.writeUInt32LE(stored.length, 12);
  return Buffer.concat([head, stored]);
}

/** Reads the head. @returns bytes of the instructions that follow @throws MosError `document-invalid` */
export function parsePatchHead(bytes: Uint8Array, about: string): number {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (head.length < patchHeadBytes || head.toString("latin1", 0, magic.length) !== magic) {
    throw invalid("it does not begin as one", about);
  }
  if (head.readUInt32LE(8) !== version) throw invalid(`it is of version ${head.readUInt32LE(8)}`, about);
  const stored = head.readUInt32LE(12);
  if (stored > maxStoredInstructions) throw invalid(`its instructions have ${stored} bytes`, about);
  return stored;
}

/**
 * Reads the instructions; they fit the two layers when this returns.
 * @throws MosError `document-invalid`
 */
export function parseInstructions(
  stored: Uint8Array,
  from: Pick<Descriptor, "size">,
  to: Pick<Descriptor, "size">,
  about: string,
): Instructions {
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(stored, { maxOutputLength: maxInstructions });
  } catch (error) {
    throw invalid(`its instructions cannot be unpacked (${String(error)})`, about);
  }
  if (plain.length < 12 + blockBytes) throw invalid("its instructions are cut off", about);
  const [oldBlocks, dictionaryBlocks, count] = [0, 4, 8].map((at) => plain.readUInt32LE(at)) as [
    number,
    number,
    number,
  ];
  if (plain.length !== 12 + count * 8 + blockBytes)
    throw invalid("its instructions have another length", about);
  if (oldBlocks * blockBytes > from.size) throw invalid("it wants more than the older layer has", about);
  const runs: Run[] = [];
  let blocks = 0;
  for (let at = 12; at < 12 + count * 8; at += 8) {
    const [length, place] = [plain.readUInt32LE(at), plain.readUInt32LE(at + 4)];
    if (length === 0) throw invalid("a run in it is empty", about);
    if (place !== literal && place + length > oldBlocks)
      throw invalid("a run in it leaves the older layer", about);
    runs.push({ blocks: length, from: place === literal ? "patch" : place });
    blocks += length;
    if (blocks * blockBytes > to.size) throw invalid("it makes more than the new layer has", about);
  }
  if (blocks === 0 || (blocks + 1 + treeBlocks(blocks)) * blockBytes !== to.size) {
    throw invalid("it makes a layer of another size", about);
  }
  if (dictionaryBlocks > Math.min(maxDictionaryBlocks, oldBlocks)) {
    throw invalid(`its dictionary has ${dictionaryBlocks} blocks`, about);
  }
  return { oldBlocks, dictionaryBlocks, runs, veritySuperblock: plain.subarray(plain.length - blockBytes) };
}

/** The blocks of the older layer that make the dictionary, as runs: the first that nothing is copied from. */
export function dictionaryRuns({
  oldBlocks,
  dictionaryBlocks,
  runs,
}: Omit<Instructions, "veritySuperblock">) {
  const isCopied = new Uint8Array(oldBlocks);
  for (const { blocks, from } of runs) if (from !== "patch") isCopied.fill(1, from, from + blocks);
  const found: { readonly start: number; readonly end: number }[] = [];
  let left = dictionaryBlocks;
  for (let block = 0; block < oldBlocks && left > 0; block++) {
    if (isCopied[block] === 1) continue;
    const start = block;
    while (block + 1 < oldBlocks && isCopied[block + 1] !== 1 && block + 1 - start < left) block++;
    found.push({ start, end: block + 1 });
    left -= block + 1 - start;
  }
  return found;
}
