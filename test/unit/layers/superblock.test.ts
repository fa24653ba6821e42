import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { parseSuperblock } from "../../../src/layers/superblock.ts";
import { erofsHead, squashfsHead } from "./verity-oracle.ts";

const unsupported = expect.objectContaining({ code: "layer-unsupported" });

describe("the superblock of a layer", () => {
  it("of squashfs gives a verity offset that is the next block after its bytes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 96, max: 2 ** 40 }), fc.nat({ max: 2 ** 30 }), (used, more) => {
        const found = parseSuperblock(squashfsHead(BigInt(used)), used + more, "layer");
        expect(found).toMatchObject({ kind: "squashfs", size: used });
        expect(found.hashOffset % 4096).toBe(0);
        expect(found.hashOffset).toBeGreaterThanOrEqual(used);
        expect(found.hashOffset - used).toBeLessThan(4096);
      }),
    );
  });

  it("of EROFS counts its blocks, of whatever size they are", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 2 ** 32 - 1 }),
        fc.integer({ min: 9, max: 16 }),
        (blocks, bits) => {
          const size = blocks * 2 ** bits;
          const found = parseSuperblock(erofsHead(blocks, bits), size, "layer");
          expect(found).toEqual({ kind: "erofs", size, hashOffset: Math.ceil(size / 4096) * 4096 });
        },
      ),
    );
  });

  it("is refused when it says that the filesystem is longer than its file", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 4097n, max: 2n ** 64n - 1n }), (used) => {
        expect(() => parseSuperblock(squashfsHead(used), 4096, "layer")).toThrow(unsupported);
      }),
    );
    expect(() => parseSuperblock(erofsHead(2, 12), 8191, "layer")).toThrow(unsupported);
  });

  it.each([
    ["squashfs that says it is empty", squashfsHead(0n)],
    ["EROFS without blocks", erofsHead(0, 12)],
    ["EROFS with blocks of 2^63 bytes", erofsHead(1, 63)],
    ["zeros", Buffer.alloc(4096)],
    ["a file shorter than a block", squashfsHead(96n).subarray(0, 4095)],
    ["an empty file", Buffer.alloc(0)],
  ])("is refused: %s", (_, head) => {
    expect(() => parseSuperblock(head, 1 << 20, "layer")).toThrow(unsupported);
  });

  it("is refused when it is of another squashfs version", () => {
    const head = squashfsHead(96n);
    head.writeUInt16LE(3, 28);
    expect(() => parseSuperblock(head, 4096, "layer")).toThrow(unsupported);
  });

  it("is refused when it could be read as both filesystems", () => {
    const head = squashfsHead(4096n);
    erofsHead(1, 12).copy(head, 1024, 1024, 1024 + 128);
    expect(() => parseSuperblock(head, 4096, "layer")).toThrow(unsupported);
  });

  it("of any bytes gives an offset within the file's last block, or is refused", () => {
    const bytes = fc.uint8Array({ minLength: 4096, maxLength: 4096 });
    const head = fc.tuple(bytes, fc.constantFrom("squashfs", "erofs", "none")).map(([any, kind]) => {
      if (kind === "squashfs") any.set([0x68, 0x73, 0x71, 0x73], 0);
      if (kind === "erofs") any.set([0xe2, 0xe1, 0xf5, 0xe0], 1024);
      return any;
    });
    fc.assert(
      fc.property(head, fc.nat(), (block, fileSize) => {
        try {
          const { size, hashOffset } = parseSuperblock(block, fileSize, "layer");
          expect(size).toBeLessThanOrEqual(fileSize);
          expect(hashOffset).toBeLessThan(fileSize + 4096);
        } catch (error) {
          expect(error).toBeInstanceOf(MosError);
          expect(error).toMatchObject({ code: "layer-unsupported" });
        }
      }),
    );
  });
});
