// The file of a patch: read as written, and refused when its numbers do not fit the layers.
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeInstructions,
  type Instructions,
  parseInstructions,
  parsePatchHead,
  patchHeadBytes,
  someBlocks,
  uncopiedBlocks,
} from "../../../src/delta/patch-format.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { treeBlocks } from "../../../src/layers/verity.ts";
import { noise } from "../../support.ts";

const block = 4096;
const refused = expect.objectContaining({ code: "document-invalid" });
const run = fc.record({
  blocks: fc.integer({ min: 1, max: 50 }),
  from: fc.oneof(fc.constant("patch" as const), fc.integer({ min: 0, max: 50 })),
});
/** Runs, and one section for each that takes the patch's own blocks. */
const instructions = fc.array(run, { minLength: 1, maxLength: 20 }).map(
  (runs): Instructions => ({
    oldBlocks: 100,
    runs,
    sections: runs.flatMap(({ blocks, from: at }, i) =>
      at === "patch" ? [{ blocks, dictionaryStart: i, dictionaryBlocks: 60, packedBytes: blocks }] : [],
    ),
    veritySuperblock: noise("superblock", block),
  }),
);

const from = { size: 100 * block };
function sizeOf({ runs }: Instructions): { readonly size: number } {
  const blocks = runs.reduce((sum, one) => sum + one.blocks, 0);
  return { size: (blocks + 1 + treeBlocks(blocks)) * block };
}

function parse(bytes: Uint8Array, to: { readonly size: number }): Instructions {
  const length = parsePatchHead(bytes.subarray(0, patchHeadBytes), "patch");
  return parseInstructions(bytes.subarray(patchHeadBytes, patchHeadBytes + length), from, to, "patch");
}

const good: Instructions = {
  oldBlocks: 100,
  runs: [
    { blocks: 10, from: 0 },
    { blocks: 2, from: "patch" },
    { blocks: 5, from: 95 },
  ],
  sections: [{ blocks: 2, dictionaryStart: 20, dictionaryBlocks: 30, packedBytes: 1000 }],
  veritySuperblock: noise("superblock", block),
};

describe("instructions", () => {
  it("are read as they were written", () => {
    fc.assert(
      fc.property(instructions, (written) => {
        expect(parse(encodeInstructions(written), sizeOf(written))).toEqual(written);
      }),
      { numRuns: 50 },
    );
  });

  const sectionAt = 12 + 3 * 8;
  const runAt = (i: number): number => 12 + i * 8;
  it.each<[string, number, number]>([
    ["more old blocks than the layer has", 0, 101],
    ["more runs than there are", 4, 4],
    ["fewer runs than there are", 4, 2],
    ["more sections than there are", 8, 0xffff_ffff],
    ["a section of nothing", sectionAt, 0],
    ["a section of more than the patch's blocks", sectionAt, 3],
    ["a section beyond the limit of memory", sectionAt, 8193],
    ["a dictionary that leaves the older layer", sectionAt + 4, 71],
    ["a dictionary beyond the limit of memory", sectionAt + 8, 16_385],
    ["a section that is larger packed than not", sectionAt + 12, 20_000],
    ["an empty run", runAt(0), 0],
    ["a longer run than the new layer", runAt(1), 0xffff_ffff],
    ["a run that leaves the older layer", runAt(2) + 4, 96],
    ["another number of blocks", runAt(1), 3],
  ])("with %s are refused", (_, at, value) => {
    const bytes = encodeInstructions(good);
    const plain = Buffer.from(zstdDecompressSync(bytes.subarray(patchHeadBytes)));
    plain.writeUInt32LE(value, at);
    const altered = zstdCompressSync(plain);
    expect(() => parseInstructions(altered, from, sizeOf(good), "patch")).toThrow(refused);
  });

  it("of any bytes are refused or fit, and never fail otherwise", () => {
    const plain = zstdDecompressSync(encodeInstructions(good).subarray(patchHeadBytes));
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 52, maxLength: 52 }), (bytes) => {
        const altered = Buffer.from(plain);
        altered.set(bytes);
        try {
          parseInstructions(zstdCompressSync(altered), from, sizeOf(good), "patch");
        } catch (error) {
          expect(error).toBeInstanceOf(MosError);
        }
      }),
    );
  });

  it.each<[string, (head: Buffer) => void]>([
    ["begins otherwise", (head) => head.write("nopatch")],
    ["is of another version", (head) => head.writeUInt32LE(2, 8)],
    ["has instructions beyond the limit", (head) => head.writeUInt32LE(4 * 1024 * 1024 + 1, 12)],
  ])("of a file that %s are not read", (_, change) => {
    const head = Buffer.from(encodeInstructions(good).subarray(0, patchHeadBytes));
    change(head);
    expect(() => parsePatchHead(head, "patch")).toThrow(refused);
    expect(() => parsePatchHead(head.subarray(1), "patch")).toThrow(refused);
  });
});

describe("a dictionary", () => {
  it("is of blocks that nothing is copied from, as many as it is told, from where it is told", () => {
    fc.assert(
      fc.property(instructions, fc.nat({ max: 120 }), fc.nat({ max: 120 }), (written, skip, count) => {
        const copied = new Set(
          written.runs.flatMap(({ blocks, from: at }) =>
            at === "patch" ? [] : Array.from({ length: blocks }, (_, i) => at + i),
          ),
        );
        const free = Array.from({ length: 100 }, (_, i) => i).filter((i) => !copied.has(i));
        const chosen = someBlocks(uncopiedBlocks(written), skip, count).flatMap(({ start, end }) =>
          Array.from({ length: end - start }, (_, i) => start + i),
        );
        expect(chosen).toEqual(free.slice(skip, skip + count));
      }),
    );
  });
});
