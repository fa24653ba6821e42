// A tree is believed as far as its root hash leads: made by an independent oracle, then altered in every place.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { saltedHash, treeBlocks } from "../../../src/layers/verity.ts";
import { authenticateTree, treeOf } from "../../../src/layers/verity-tree.ts";
import { noise } from "../../support.ts";
import { buildTree } from "./verity-oracle.ts";

const block = 4096;
const salt = fc.uint8Array({ maxLength: 64 });
const refused = expect.objectContaining({ code: "verity-mismatch" });

/** Data of so many blocks: the layouts with one, two and three levels. */
function data(blocks: number): Buffer {
  const bytes = Buffer.alloc(blocks * block);
  for (let i = 0; i < blocks; i++) bytes.writeUInt32LE(i + 1, i * block);
  return bytes;
}

describe("a verity tree", () => {
  it("gives the digest of every data block", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), salt, (dataBlocks, ownSalt) => {
        const bytes = data(dataBlocks);
        const { tree, rootHash } = buildTree(bytes, ownSalt);
        const leaves = authenticateTree(tree, { dataBlocks, salt: ownSalt }, rootHash, "layer");
        expect(leaves.length).toBe(dataBlocks * 32);
        for (let i = 0; i < dataBlocks; i++) {
          const leaf = Buffer.from(leaves.subarray(i * 32, (i + 1) * 32)).toString("hex");
          expect(leaf).toBe(saltedHash(ownSalt, bytes.subarray(i * block, (i + 1) * block)));
        }
      }),
      { numRuns: 30 },
    );
  });

  it("is made again from the digests of its data blocks, byte for byte", () => {
    // 128 digests fill a block: one level, two, and three.
    for (const dataBlocks of [1, 2, 127, 128, 129, 128 * 128, 128 * 128 + 1]) {
      const ownSalt = noise("salt", 32);
      const { tree, rootHash } = buildTree(data(dataBlocks), ownSalt);
      const leaves = authenticateTree(tree, { dataBlocks, salt: ownSalt }, rootHash, "layer");
      expect(Buffer.from(treeOf(leaves, ownSalt)).equals(tree)).toBe(true);
    }
  });

  it("is refused when any byte of it is altered, also in what fills its blocks", () => {
    const dataBlocks = 260;
    const ownSalt = noise("salt", 32);
    const { tree, rootHash } = buildTree(data(dataBlocks), ownSalt);
    fc.assert(
      fc.property(fc.nat({ max: tree.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const altered = Buffer.from(tree);
        altered[at] = (altered[at] ?? 0) ^ change;
        expect(() => authenticateTree(altered, { dataBlocks, salt: ownSalt }, rootHash, "layer")).toThrow(
          refused,
        );
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    ["it is cut off", { cut: 1 }],
    ["its salt is another one", { salt: noise("another", 32) }],
    ["it is said to be over more blocks", { dataBlocks: 261 }],
    ["its root hash is another one", { rootHash: "0".repeat(64) }],
  ])("is refused when %s", (_, change) => {
    const good = { dataBlocks: 260, salt: noise("salt", 32), cut: 0 };
    const { tree, rootHash } = buildTree(data(good.dataBlocks), good.salt);
    const altered = { ...good, rootHash, ...change };
    // Of 261 blocks the tree has as many as of 260; the digest of the last is then zeros, which nothing has.
    const given = tree.subarray(0, tree.length - altered.cut);
    const leaves = () => authenticateTree(given, altered, altered.rootHash, "layer");
    if (altered.dataBlocks === good.dataBlocks) expect(leaves).toThrow(refused);
    else expect(Buffer.from(leaves().subarray(-32)).equals(Buffer.alloc(32))).toBe(true);
    expect(treeBlocks(261)).toBe(treeBlocks(260));
  });
});
