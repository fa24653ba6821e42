// One real update: Debian's security updates of today in a device's root, published as a layer before and after, and
// fetched as a device that has the older one does. For its test and for ./dev bench.
import { createReadStream } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fetchByDelta } from "../../src/delta/fetch-by-delta.ts";
import { makePatch } from "../../src/delta/patch-make.ts";
import { inspectLayer } from "../../src/layers/inspect.ts";
import { type LayerFormat, type PackedLayer, packLayer } from "../../src/layers/pack.ts";
import { Layout } from "../../src/oci/layout.ts";
import { pushImage, pushPatch, registryAt } from "./delta-images.ts";
import { isAcceptedByVeritysetup } from "./layers-fixture.ts";
import { startRegistry } from "./registry-fixture.ts";

/** How one way went. */
export interface Fetched {
  readonly way: "patch" | "blocks" | "whole";
  /** Bytes of all answers, from the registry's log. */
  readonly sentBytes: number;
  readonly milliseconds: number;
}

export interface UpdateByDelta {
  readonly older: PackedLayer;
  readonly newer: PackedLayer;
  readonly blocks: Fetched;
  /** Undefined when a patch would not be worth it. */
  readonly patch: Fetched | undefined;
  /** What making the patch took at the publisher. */
  readonly patchMilliseconds: number;
}

/** Waits until the registry's log has nothing more to say; it is written after the answer. */
async function settled(sentBytes: () => number): Promise<number> {
  for (let before = -1; before !== sentBytes(); ) {
    before = sentBytes();
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return sentBytes();
}

/** @throws when a result is not the layer, by veritysetup's word */
export async function updateByDelta(
  before: string,
  after: string,
  format: LayerFormat,
  workDirectory: string,
): Promise<UpdateByDelta> {
  const pack = async (path: string) =>
    await packLayer({ source: { kind: "directory", path }, format, workDirectory });
  const [older, newer] = [await pack(before), await pack(after)];
  const registry = await startRegistry();
  const work = await mkdtemp(join(tmpdir(), "mos-delta-"));
  try {
    const images = registryAt(registry.authority);
    const image = await pushImage(images, newer);
    const store = await Layout.create(join(work, "publisher"));
    for (const { path, descriptor } of [older, newer]) {
      await store.putBlob(descriptor, () => createReadStream(path));
    }
    const fetch = async (name: string): Promise<Fetched> => {
      const device = await Layout.create(join(work, name));
      await cp(older.path, device.blobPath(older.descriptor.digest));
      const already = await settled(registry.sentBytes);
      const start = performance.now();
      const { way } = await fetchByDelta({
        ...{ store: device, images, olderLayers: [older.descriptor], onBytes: () => undefined },
        wanted: { layer: newer.descriptor, service: "root", image: image.descriptor.digest },
      });
      const milliseconds = performance.now() - start;
      const sentBytes = (await settled(registry.sentBytes)) - already;
      const result = device.blobPath(newer.descriptor.digest);
      const { hashOffset } = await inspectLayer(result, newer.descriptor);
      if (!(await isAcceptedByVeritysetup(result, hashOffset, newer.rootHash))) {
        throw new Error(`veritysetup does not accept what ${way} made`);
      }
      await rm(join(work, name), { recursive: true });
      return { way, sentBytes, milliseconds };
    };
    const blocks = await fetch("blocks");
    const start = performance.now();
    const patch = await makePatch(store, older.descriptor, newer.descriptor);
    const patchMilliseconds = performance.now() - start;
    if (patch === undefined) return { older, newer, blocks, patch, patchMilliseconds };
    await pushPatch(images, patch, [older.descriptor, newer.descriptor, image.descriptor]);
    return { older, newer, blocks, patch: await fetch("patch"), patchMilliseconds };
  } finally {
    await registry.stop();
    await rm(work, { recursive: true, force: true });
  }
}
