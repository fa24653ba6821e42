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

/** Blocks of one section's dictionary, 64 MiB, which a device holds twice (its own copy and zstd's) … */
export const maxDictionaryBlocks = 16 * 1024;
/** … and that one section makes, 32 MiB. */
export const maxSectionBlocks = 8 * 1024;
/** zstd's window, 64 MiB, so that no frame makes a device take more. */
export const windowLog = 26;

/** Stands for the place in the older layer when blocks are in the patch itself. */
const literal = 0xffff_ffff;

/** Blocks that follow one another: in the older layer from `from` on, or in the patch. */
export interface Run {
  readonly blocks: number;
  readonly from: number | "patch";
}

/** Some of the patch's own blocks: one zstd frame, with a dictionary from the older layer. */
export interface Section {
  readonly blocks: number;
  /** The dictionary: so many of the older blocks that no run copies, from the `dictionaryStart`th on. */
  readonly dictionaryStart: number;
  readonly dictionaryBlocks: number;
  /** Bytes of the frame. */
  readonly packedBytes: number;
}

export interface Instructions {
  /** Blocks of the older layer that take part: its first ones. */
  readonly oldBlocks: number;
  /** All data blocks of the new layer, in order. */
  readonly runs: readonly Run[];
  /** The patch's own blocks, in order. */
  readonly sections: readonly Section[];
  /** The block before the tree, whole. */
  readonly veritySuperblock: Uint8Array;
}

function invalid(what: string, about: string): MosError {
  return new MosError("document-invalid", `cannot use the patch ${about}: ${what}`, { about });
}

const sectionFields = ["blocks", "dictionaryStart", "dictionaryBlocks", "packedBytes"] as const;

/** The head of a patch and its instructions; the frames of the sections follow. */
export function encodeInstructions(instructions: Instructions): Uint8Array {
  const { oldBlocks, runs, sections, veritySuperblock } = instructions;
  const numbers = [
    ...[oldBlocks, runs.length, sections.length],
    ...runs.flatMap(({ blocks, from }) => [blocks, from === "patch" ? literal : from]),
    ...sections.flatMap((section) => sectionFields.map((field) => section[field])),
  ];
  const plain = Buffer.alloc(numbers.length * 4 + blockBytes);
  for (const [i, number] of numbers.entries()) plain.writeUInt32LE(number, i * 4);
  plain.set(veritySuperblock, numbers.length * 4);
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
  const fits = (isTrue: boolean, what: string): void => {
    if (!isTrue) throw invalid(what, about);
  };
  fits(plain.length >= 12 + blockBytes, "its instructions are cut off");
  const reader = new NumberReader(plain);
  const [oldBlocks, runCount, sectionCount] = [reader.next(), reader.next(), reader.next()];
  const length = 12 + runCount * 8 + sectionCount * 16 + blockBytes;
  fits(plain.length === length, "its instructions have another length");
  fits(oldBlocks * blockBytes <= from.size, "it wants more than the older layer has");
  let blocks = 0;
  let ownBlocks = 0;
  const runs = Array.from({ length: runCount }, (): Run => {
    const [count, place] = [reader.next(), reader.next()];
    fits(count > 0, "a run in it is empty");
    fits(place === literal || place + count <= oldBlocks, "a run in it leaves the older layer");
    blocks += count;
    if (place === literal) ownBlocks += count;
    return { blocks: count, from: place === literal ? "patch" : place };
  });
  fits(
    blocks > 0 && blocks * blockBytes < to.size && (blocks + 1 + treeBlocks(blocks)) * blockBytes === to.size,
    "it makes a layer of another size",
  );
  const sections = Array.from({ length: sectionCount }, (): Section => {
    const [count, dictionaryStart, dictionaryBlocks, packedBytes] = [
      ...[reader.next(), reader.next()],
      ...[reader.next(), reader.next()],
    ] as [number, number, number, number];
    fits(count > 0 && count <= maxSectionBlocks, `a section in it has ${count} blocks`);
    fits(dictionaryBlocks <= maxDictionaryBlocks, `a dictionary in it has ${dictionaryBlocks} blocks`);
    fits(dictionaryStart + dictionaryBlocks <= oldBlocks, "a dictionary in it leaves the older layer");
    // What zstd makes of blocks that do not compress.
    fits(packedBytes <= (count + 1) * blockBytes + count * 16, "a section in it is larger than its blocks");
    ownBlocks -= count;
    return { blocks: count, dictionaryStart, dictionaryBlocks, packedBytes };
  });
  fits(ownBlocks === 0, "its sections make another number of blocks than its runs take");
  return { oldBlocks, runs, sections, veritySuperblock: plain.subarray(plain.length - blockBytes) };
}

/** Reads 32-bit numbers one after another. */
class NumberReader {
  private readonly bytes: Buffer;
  private at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  next(): number {
    this.at += 4;
    return this.bytes.readUInt32LE(this.at - 4);
  }
}

/** Blocks of the older layer: `start` to `end`, not included. */
interface OldRange {
  readonly start: number;
  readonly end: number;
}

/** The blocks of the older layer that no run copies, in order: what dictionaries are made of. */
export function uncopiedBlocks({ oldBlocks, runs }: Pick<Instructions, "oldBlocks" | "runs">): OldRange[] {
  const isCopied = new Uint8Array(oldBlocks);
  for (const { blocks, from } of runs) if (from !== "patch") isCopied.fill(1, from, from + blocks);
  const found: OldRange[] = [];
  for (let block = 0; block < oldBlocks; block++) {
    if (isCopied[block] === 1) continue;
    const start = block;
    while (block + 1 < oldBlocks && isCopied[block + 1] !== 1) block++;
    found.push({ start, end: block + 1 });
  }
  return found;
}

/** So many of these blocks, without the first `skip`. Fewer when there are not so many. */
export function someBlocks(ranges: readonly OldRange[], skip: number, count: number): OldRange[] {
  const chosen: OldRange[] = [];
  let toSkip = skip;
  let left = count;
  for (const { start, end } of ranges) {
    const first = Math.min(end, start + toSkip);
    toSkip -= first - start;
    const last = Math.min(end, first + left);
    left -= last - first;
    if (first < last) chosen.push({ start: first, end: last });
  }
  return chosen;
}
