// A layer by a patch, and by blocks when the patch is bad. The registry is Debian's; patches are made, then spoiled.
import { readFile, writeFile } from "node:fs/promises";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeInstructions } from "../../src/delta/patch-format.ts";
import { makePatch } from "../../src/delta/patch-make.ts";
import type { PackedLayer } from "../../src/layers/pack.ts";
import { treeBlocks } from "../../src/layers/verity.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { noise } from "../support.ts";
import { expectWhole, fetchLayer, layerOf, meddlingProxy, storeWith, twoVersions } from "./delta-fixture.ts";
import { pushPatch, registryAt } from "./delta-images.ts";
import { startRegistry } from "./registry-fixture.ts";

let registry: Awaited<ReturnType<typeof startRegistry>>;
let older: PackedLayer;
let newer: PackedLayer;
let image: Descriptor;
beforeAll(async () => {
  registry = await startRegistry();
});
afterAll(() => registry.stop());

describe("patches", () => {
  /** Publishes a patch between the versions, which `change` makes another one. */
  async function publishPatch(
    change: (patch: Uint8Array) => Uint8Array = (patch) => patch,
  ): Promise<Descriptor> {
    const both = await storeWith(older, newer);
    const made = await makePatch(both, older.descriptor, newer.descriptor);
    if (made === undefined) throw new Error("no patch was made");
    const places = [older.descriptor, newer.descriptor, image] as const;
    return await pushPatch(registryAt(registry.authority), change(made), places);
  }

  test("the smaller way is taken, and no more comes than the patch has", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    const blob = await publishPatch();
    const store = await storeWith(older);
    const { authority, counted } = await meddlingProxy(registry.authority);
    const result = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(result).toEqual({ way: "patch", fetchedBytes: blob.size });
    expect(blob.size).toBeLessThan(0.01 * newer.descriptor.size);
    expect(counted.sent).toBeLessThan(blob.size + 5000);
    await expectWhole(store, newer);
  });

  test("a patch from a layer that is not here is not looked at", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    await publishPatch();
    const other = await layerOf({ "file-7": noise("something else", 50_000) });
    const store = await storeWith(other);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      other.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store, newer);
  });

  test("a squashfs gets a patch too", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority, "squashfs"));
    const blob = await publishPatch();
    const store = await storeWith(older);
    expect(
      await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [older.descriptor]),
    ).toEqual({ way: "patch", fetchedBytes: blob.size });
    await expectWhole(store, newer);
  });

  /** A patch of literal blocks only, of which the frame unpacks to what is given. */
  function patchOf(frame: Uint8Array, blocks: number): Buffer {
    const runs = [{ blocks, from: "patch" as const }];
    const sections = [{ blocks, dictionaryStart: 0, dictionaryBlocks: 0, packedBytes: frame.length }];
    const veritySuperblock = new Uint8Array(4096);
    veritySuperblock.set(Buffer.from("verity\0\0\x01\0\0\0\x01\0\0\0", "latin1"));
    veritySuperblock.set(Buffer.from("sha256"), 32);
    veritySuperblock.set([0, 16, 0, 0, 0, 16, 0, 0, 1], 64);
    const instructions = encodeInstructions({ oldBlocks: 0, runs, sections, veritySuperblock });
    return Buffer.concat([instructions, frame]);
  }

  const bad: readonly [string, (patch: Uint8Array) => Uint8Array][] = [
    ["is cut off", (patch) => patch.subarray(0, -10)],
    ["is nothing", () => new Uint8Array(100)],
    ["has one bit altered", (patch) => Uint8Array.from(patch).fill((patch.at(-20) ?? 0) ^ 1, -20, -19)],
    ["has a second frame", (patch) => Buffer.concat([patch, zstdCompressSync(Buffer.alloc(4096, 1))])],
    [
      "makes another layer of the same size",
      () => {
        const blocks = newer.descriptor.size / 4096;
        let data = blocks;
        while (data + 1 + treeBlocks(data) > blocks) data--;
        return patchOf(zstdCompressSync(Buffer.alloc(data * 4096)), data);
      },
    ],
    [
      "unpacks to a thousand times what it should",
      () => {
        const blocks = newer.descriptor.size / 4096;
        let data = blocks;
        while (data + 1 + treeBlocks(data) > blocks) data--;
        return patchOf(zstdCompressSync(Buffer.alloc(200 * 1024 * 1024)), data);
      },
    ],
    [
      "has instructions that unpack without end",
      () => {
        const stored = zstdCompressSync(Buffer.alloc(200 * 1024 * 1024));
        const head = Buffer.from(patchOf(new Uint8Array(), 1).subarray(0, 16));
        head.writeUInt32LE(stored.length, 12);
        return Buffer.concat([head, stored]);
      },
    ],
    ["leads to a layer of another size", () => patchOf(zstdCompressSync(Buffer.alloc(4096)), 1)],
  ];
  test.each(bad)("a patch that %s is given up for blocks", async (_, change) => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    await publishPatch(change);
    const store = await storeWith(older);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store, newer);
  });

  test("a patch whose older layer is damaged here is given up", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    await publishPatch();
    const store = await storeWith(older);
    const path = store.blobPath(older.descriptor.digest);
    const damaged = await readFile(path);
    damaged.fill(1, 200_000, 300_000);
    await writeFile(path, damaged);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store, newer);
  });
});
