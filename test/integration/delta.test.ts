// A layer by delta: what is fetched, counted by what a registry sends, and that the result is the layer, whatever the
// registry does. The registry is Debian's, with one in front of it where it has to lie.
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeInstructions } from "../../src/delta/patch-format.ts";
import { makePatch } from "../../src/delta/patch-make.ts";
import { inspectLayer } from "../../src/layers/inspect.ts";
import type { PackedLayer } from "../../src/layers/pack.ts";
import { treeBlocks } from "../../src/layers/verity.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { noise, temporaryDirectory } from "../support.ts";
import { fetchLayer, type Meddle, makeVersion, meddlingProxy, packed, storeWith } from "./delta-fixture.ts";
import { pushImage, pushPatch, registryAt } from "./delta-images.ts";
import { startRegistry } from "./registry-fixture.ts";

let registry: Awaited<ReturnType<typeof startRegistry>>;
let older: PackedLayer;
let newer: PackedLayer;
let image: Descriptor;
/** Each test has an image of its own: patches stay in the registry. */
let number = 0;

async function layerOf(files: Readonly<Record<string, Uint8Array>>, format: "erofs" | "squashfs" = "erofs") {
  const root = join(await temporaryDirectory(), "root");
  await makeVersion(root, files);
  return await packed(root, format);
}

beforeAll(async () => {
  registry = await startRegistry();
});
afterAll(() => registry.stop());

/** Two versions, of which one file differs in some bytes, in the registry and as files. */
async function twoVersions(format: "erofs" | "squashfs" = "erofs"): Promise<void> {
  const text = noise(`changes ${++number}`, 50_000);
  older = await layerOf({ "file-7": text }, format);
  const changed = Buffer.concat([Buffer.from("something new"), text, Buffer.from("and at the end")]);
  newer = await layerOf({ "file-7": changed, small: Buffer.from("another small file") }, format);
  image = (await pushImage(registryAt(registry.authority), newer)).descriptor;
}

async function expectWhole(store: Awaited<ReturnType<typeof storeWith>>, layer = newer): Promise<void> {
  const path = store.blobPath(layer.descriptor.digest);
  expect((await readFile(path)).equals(await readFile(layer.path))).toBe(true);
  await inspectLayer(path, layer.descriptor);
}

const isRange = (incoming: Parameters<Meddle>[0]): boolean => incoming.headers.range !== undefined;
const startOf = (incoming: Parameters<Meddle>[0]): number =>
  Number(/bytes=([0-9]+)-/.exec(incoming.headers.range ?? "")?.[1] ?? -1);

describe("blocks", () => {
  test("only those that changed are fetched, with the tree that names them", async () => {
    await twoVersions();
    const store = await storeWith(older);
    const { authority, counted } = await meddlingProxy(registry.authority);
    const { fetchedBytes, way } = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store);
    // The changed file, its tree, some of the metadata; of 2 MB.
    expect(counted.sent).toBeLessThan(0.1 * newer.descriptor.size);
    // Beside the layer: error answers of a registry that knows no referrers.
    expect(counted.sent - fetchedBytes).toBeLessThan(1000);
  });

  test("come from several older layers, also from such that are damaged in places", async () => {
    await twoVersions();
    const half = await layerOf({ "file-7": noise("x", 50_000), "file-8": noise("y", 50_000) });
    const store = await storeWith(half, older);
    const path = store.blobPath(half.descriptor.digest);
    const damaged = await readFile(path);
    damaged.fill(1, 200_000, 900_000);
    await writeFile(path, damaged);
    const { way, fetchedBytes } = await fetchLayer(
      store,
      registryAt(registry.authority),
      newer.descriptor,
      image,
      [half.descriptor, older.descriptor],
    );
    expect(way).toBe("blocks");
    expect(fetchedBytes).toBeLessThan(0.15 * newer.descriptor.size);
    await expectWhole(store);
  });

  test("an older layer that is cut off gives what it has", async () => {
    await twoVersions();
    const store = await storeWith(older);
    await truncate(store.blobPath(older.descriptor.digest), 1_000_001);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store);
  });

  test("what an interrupted attempt left is gone on with", async () => {
    await twoVersions();
    const store = await storeWith(older);
    let left = 3;
    const broken = await meddlingProxy(registry.authority, (incoming, answer) => {
      if (isRange(incoming) && --left < 0) Object.assign(answer, { status: 503, body: Buffer.alloc(0) });
      if (!isRange(incoming) && /blobs/.test(incoming.url ?? "")) Object.assign(answer, { status: 503 });
    });
    await expect(
      fetchLayer(store, registryAt(broken.authority), newer.descriptor, image, [older.descriptor]),
    ).rejects.toMatchObject({ code: "registry-refused" });
    await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [older.descriptor]);
    await expectWhole(store);
  });

  test("a layer that has nothing in common with the older ones is fetched whole, and so is a squashfs", async () => {
    await twoVersions("squashfs");
    const store = await storeWith(older);
    const images = registryAt(registry.authority);
    const { way } = await fetchLayer(store, images, newer.descriptor, image, [older.descriptor]);
    expect(["whole", "blocks"]).toContain(way);
    await expectWhole(store);
    const empty = await storeWith();
    expect(await fetchLayer(empty, images, newer.descriptor, image, [])).toEqual({
      ...{ way: "whole", fetchedBytes: newer.descriptor.size },
    });
  });

  const lies: readonly [string, Meddle][] = [
    [
      "alters the tree",
      (incoming, { body }) => {
        if (startOf(incoming) > 100_000) body[body.length - 5000] = (body[body.length - 5000] ?? 0) ^ 1;
      },
    ],
    [
      "sends another block",
      (incoming, { body }) => {
        if (isRange(incoming) && startOf(incoming) < 1_900_000) body.fill(9, 100, 200);
      },
    ],
    [
      "sends fewer bytes than the range has",
      (incoming, answer) => {
        if (isRange(incoming)) answer.body = answer.body.subarray(1);
      },
    ],
    [
      "sends another range",
      (incoming, answer) => {
        if (isRange(incoming)) answer.headers["content-range"] = `bytes 1-4096/${newer.descriptor.size}`;
      },
    ],
    [
      "says that the layer is larger",
      (incoming, answer) => {
        const range = answer.headers["content-range"];
        if (isRange(incoming) && range !== undefined) {
          answer.headers["content-range"] = range.replace(/[0-9]+$/, "99999999");
        }
      },
    ],
  ];
  test.each(lies)("a registry that %s is asked for all of it", async (_, meddle) => {
    await twoVersions();
    const store = await storeWith(older);
    const { authority } = await meddlingProxy(registry.authority, meddle);
    const { way } = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("whole");
    await expectWhole(store);
  });

  test("a registry that does not know ranges is asked for all of it, and sends it once", async () => {
    await twoVersions();
    const store = await storeWith(older);
    const { authority } = await meddlingProxy(registry.authority, (incoming, answer) => {
      if (!isRange(incoming)) return;
      delete answer.headers["content-range"];
      answer.status = 200;
    });
    const { way, fetchedBytes } = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect([way, fetchedBytes]).toEqual(["whole", newer.descriptor.size]);
    await expectWhole(store);
  });

  test("a layout on disk gives blocks as a registry does", async () => {
    await twoVersions();
    const [store, stick] = [await storeWith(older), await storeWith(newer)];
    const { way, fetchedBytes } = await fetchLayer(store, stick, newer.descriptor, image, [older.descriptor]);
    expect(way).toBe("blocks");
    expect(fetchedBytes).toBeLessThan(0.1 * newer.descriptor.size);
    await expectWhole(store);
  });
});

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
    await twoVersions();
    const blob = await publishPatch();
    const store = await storeWith(older);
    const { authority, counted } = await meddlingProxy(registry.authority);
    const result = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(result).toEqual({ way: "patch", fetchedBytes: blob.size });
    expect(blob.size).toBeLessThan(0.01 * newer.descriptor.size);
    expect(counted.sent).toBeLessThan(blob.size + 5000);
    await expectWhole(store);
  });

  test("a patch from a layer that is not here is not looked at", async () => {
    await twoVersions();
    await publishPatch();
    const other = await layerOf({ "file-7": noise("something else", 50_000) });
    const store = await storeWith(other);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      other.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store);
  });

  test("a squashfs gets a patch too", async () => {
    await twoVersions("squashfs");
    const blob = await publishPatch();
    const store = await storeWith(older);
    expect(
      await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [older.descriptor]),
    ).toEqual({ way: "patch", fetchedBytes: blob.size });
    await expectWhole(store);
  });

  /** A patch of literal blocks only, of which the frame unpacks to what is given. */
  function patchOf(frame: Uint8Array, blocks: number): Buffer {
    const runs = [{ blocks, from: "patch" as const }];
    const veritySuperblock = new Uint8Array(4096);
    veritySuperblock.set(Buffer.from("verity\0\0\x01\0\0\0\x01\0\0\0", "latin1"));
    veritySuperblock.set(Buffer.from("sha256"), 32);
    veritySuperblock.set([0, 16, 0, 0, 0, 16, 0, 0, 1], 64);
    const instructions = encodeInstructions({ oldBlocks: 0, dictionaryBlocks: 0, runs, veritySuperblock });
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
    await twoVersions();
    await publishPatch(change);
    const store = await storeWith(older);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store);
  });

  test("a patch whose older layer is damaged here is given up", async () => {
    await twoVersions();
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
    await expectWhole(store);
  });
});
