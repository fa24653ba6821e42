import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { parseVeritySuperblock, saltedHash, treeBlocks } from "../../../src/layers/verity.ts";
import { buildTree, encodeVeritySuperblock } from "./verity-oracle.ts";

const superblock = fc.record({
  uuid: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  dataBlocks: fc.integer({ min: 1, max: 2 ** 40 }),
  salt: fc.uint8Array({ maxLength: 256 }),
});

const good = { uuid: new Uint8Array(16), dataBlocks: 10, salt: new Uint8Array(32).fill(7) };

describe("a verity superblock", () => {
  it("is read as it was written", () => {
    fc.assert(
      fc.property(superblock, (written) => {
        expect(parseVeritySuperblock(encodeVeritySuperblock(written), "layer")).toEqual(written);
      }),
    );
  });

  it("that is not there is called missing", () => {
    const missing = expect.objectContaining({ code: "verity-missing" });
    expect(() => parseVeritySuperblock(new Uint8Array(4096), "layer")).toThrow(missing);
    expect(() => parseVeritySuperblock(new Uint8Array(0), "layer")).toThrow(missing);
    expect(() => parseVeritySuperblock(encodeVeritySuperblock(good).subarray(0, 511), "layer")).toThrow(
      missing,
    );
  });

  it.each([
    ["version 2", 8, [2]],
    ["hash type 0", 12, [0]],
    ["sha512", 32, [...Buffer.from("sha512")]],
    ["an algorithm with something behind its end", 39, [1]],
    ["data blocks of 16 KiB", 64, [0, 64]],
    ["hash blocks of 512 bytes", 68, [0, 2]],
    ["no data blocks", 72, [0]],
    ["2^56 data blocks", 79, [1]],
    ["a salt of 257 bytes", 80, [1, 1]],
  ])("is refused: %s", (_, at, bytes) => {
    const block = encodeVeritySuperblock(good);
    block.set(bytes, at);
    expect(() => parseVeritySuperblock(block, "layer")).toThrow(
      expect.objectContaining({ code: "verity-mismatch" }),
    );
  });

  it("of any bytes is read within its limits or refused", () => {
    const bytes = fc.uint8Array({ minLength: 512, maxLength: 512 });
    fc.assert(
      fc.property(bytes, fc.integer({ min: 0, max: 511 }), (any, from) => {
        const block = encodeVeritySuperblock(good).subarray(0, 512);
        block.set(any.subarray(from), from);
        try {
          const { dataBlocks, salt } = parseVeritySuperblock(block, "layer");
          expect(Number.isSafeInteger(dataBlocks * 4096)).toBe(true);
          expect(salt.length).toBeLessThanOrEqual(256);
        } catch (error) {
          expect(error).toBeInstanceOf(MosError);
        }
      }),
    );
  });
});

describe("a verity tree", () => {
  it("has as many blocks as were counted, and its first leads to the root hash", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.uint8Array({ maxLength: 32 }), (blocks, salt) => {
        const data = Buffer.alloc(blocks * 4096, blocks);
        const { tree, rootHash } = buildTree(data, salt);
        expect(tree.length).toBe(treeBlocks(blocks) * 4096);
        expect(saltedHash(salt, blocks === 1 ? data : tree.subarray(0, 4096))).toBe(rootHash);
      }),
      { numRuns: 20 },
    );
  });

  it("grows a level with each power of 128", () => {
    expect([1, 2, 128, 129, 128 * 128, 128 * 128 + 1].map(treeBlocks)).toEqual([0, 1, 1, 3, 129, 132]);
  });
});
