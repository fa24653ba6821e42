// A layer by blocks: what is fetched, counted by what a registry sends, and that the result is the layer, whatever the
// registry does. The registry is Debian's, with one in front of it where it has to lie.
import { readFile, truncate, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PackedLayer } from "../../src/layers/pack.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { noise } from "../support.ts";
import {
  expectWhole,
  fetchLayer,
  layerOf,
  type Meddle,
  meddlingProxy,
  storeWith,
  twoVersions,
} from "./delta-fixture.ts";
import { registryAt } from "./delta-images.ts";
import { startRegistry } from "./registry-fixture.ts";

let registry: Awaited<ReturnType<typeof startRegistry>>;
let older: PackedLayer;
let newer: PackedLayer;
let image: Descriptor;
beforeAll(async () => {
  registry = await startRegistry();
});
afterAll(() => registry.stop());

const isRange = (incoming: Parameters<Meddle>[0]): boolean => incoming.headers.range !== undefined;
const startOf = (incoming: Parameters<Meddle>[0]): number =>
  Number(/bytes=([0-9]+)-/.exec(incoming.headers.range ?? "")?.[1] ?? -1);

describe("blocks", () => {
  test("only those that changed are fetched, with the tree that names them", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    const store = await storeWith(older);
    const { authority, counted } = await meddlingProxy(registry.authority);
    const { fetchedBytes, way } = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store, newer);
    // The changed file, its tree, some of the metadata; of 2 MB.
    expect(counted.sent).toBeLessThan(0.1 * newer.descriptor.size);
    // Beside the layer: error answers of a registry that knows no referrers.
    expect(counted.sent - fetchedBytes).toBeLessThan(1000);
  });

  test("come from several older layers, also from such that are damaged in places", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
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
    await expectWhole(store, newer);
  });

  test("an older layer that is cut off gives what it has", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    const store = await storeWith(older);
    await truncate(store.blobPath(older.descriptor.digest), 1_000_001);
    const { way } = await fetchLayer(store, registryAt(registry.authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("blocks");
    await expectWhole(store, newer);
  });

  test("what an interrupted attempt left is gone on with", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
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
    await expectWhole(store, newer);
  });

  test("a layer that has nothing in common with the older ones is fetched whole, and so is a squashfs", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority, "squashfs"));
    const store = await storeWith(older);
    const images = registryAt(registry.authority);
    const { way } = await fetchLayer(store, images, newer.descriptor, image, [older.descriptor]);
    expect(["whole", "blocks"]).toContain(way);
    await expectWhole(store, newer);
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
    ({ older, newer, image } = await twoVersions(registry.authority));
    const store = await storeWith(older);
    const { authority } = await meddlingProxy(registry.authority, meddle);
    const { way } = await fetchLayer(store, registryAt(authority), newer.descriptor, image, [
      older.descriptor,
    ]);
    expect(way).toBe("whole");
    await expectWhole(store, newer);
  });

  test("a registry that does not know ranges is asked for all of it, and sends it once", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
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
    await expectWhole(store, newer);
  });

  test("a layout on disk gives blocks as a registry does", async () => {
    ({ older, newer, image } = await twoVersions(registry.authority));
    const [store, stick] = [await storeWith(older), await storeWith(newer)];
    const { way, fetchedBytes } = await fetchLayer(store, stick, newer.descriptor, image, [older.descriptor]);
    expect(way).toBe("blocks");
    expect(fetchedBytes).toBeLessThan(0.1 * newer.descriptor.size);
    await expectWhole(store, newer);
  });
});
