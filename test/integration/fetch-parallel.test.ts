// Several layers at once: how many, what is told meanwhile, and what becomes of the others when one fails. Real updates
// against a server that serves a good set but for one thing.
import { readFile, rm, stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { digestOf } from "../../src/oci/digest.ts";
import {
  blobOf,
  impatient,
  type PublishedSet,
  partialOf,
  publishSet,
  setFetch,
  updateTo,
} from "./fetch-fixture.ts";
import { sendRange, serveLayout } from "./layout-server.ts";
import { makeSigners, newDevice, type Signers } from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  set = await publishSet(work, signers, [2200, 1300, 2400, 100, 1700]);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const layerOf = (i: number) => {
  const image = set.images[i];
  if (image === undefined) throw new Error(`no image ${i}`);
  return image.layer;
};
const isLayer = (url: string | undefined) =>
  set.images.findIndex(({ layer }) => url?.endsWith(layer.descriptor.digest));
const at = (authority: string) => `${authority}/machine/install:1.0.0`;

test.each([1, 3])("%i at a time are fetched when the device is told so", async (parallel) => {
  let now = 0;
  let most = 0;
  let left = set.images.length;
  const held: (() => void)[] = [];
  const authority = await serveLayout(set.directory, (request, response) => {
    const i = isLayer(request.url);
    if (i < 0) return false;
    most = Math.max(most, ++now);
    response.on("close", () => now--);
    held.push(() => sendRange(response, layerOf(i).bytes, request.headers.range));
    // Once as many are here as should come, and one more would have had the time to.
    if (held.length < Math.min(parallel, left)) return true;
    left -= held.length;
    setTimeout(() => held.splice(0).map((send) => send()), 150);
    return true;
  });
  const device = await newDevice(signers);
  await setFetch(device, { parallel });
  expect(await updateTo(device, at(authority))).toMatchObject({ code: "updated" });
  expect(most).toBe(parallel);
  expect(await listGenerations(device.places)).toEqual([1]);
});

test("what is told of the progress adds up to all bytes and never goes back", async () => {
  const device = await newDevice(signers);
  const told: { done: number; total: number }[] = [];
  await updateTo(device, at(await serveLayout(set.directory)), (event) => {
    if (event.kind === "bytes") told.push(event);
  });
  const total = set.images.reduce((sum, { layer }) => sum + layer.descriptor.size, 0);
  expect(told.at(-1)).toMatchObject({ done: total, total });
  expect(told.map(({ done }) => done)).toEqual(told.map(({ done }) => done).sort((a, b) => a - b));
  expect(new Set(told.map((event) => event.total))).toEqual(new Set([total]));
});

test("the first failure stops the others at once, and the next update goes on where they were", async () => {
  let isFailing = true;
  const ranges = new Map<number, string | undefined>();
  const held: ServerResponse[] = [];
  const waiting: ServerResponse[] = [];
  let refusedAt = 0;
  const authority = await serveLayout(set.directory, (request, response) => {
    const i = isLayer(request.url);
    if (i < 0) return false;
    ranges.set(i, request.headers.range);
    if (!isFailing) return false;
    const { bytes } = layerOf(i);
    if (i !== 1) {
      // Two MiB, of which one is written as soon as both have come, and after that nothing.
      response.writeHead(200, { "Content-Length": bytes.length }).write(bytes.subarray(0, 2_150_000));
      held.push(response);
    } else waiting.push(response);
    // Once something of the two others is on the disk; a large layer that is refused is asked for once more.
    if (i === 1)
      void keptOf([0, 2]).then(() => {
        refusedAt = performance.now();
        for (const one of waiting.splice(0)) one.writeHead(403).end();
      });
    return true;
  });
  const device = await newDevice(signers);
  /** Until something of these layers is on the disk. */
  const keptOf = (layers: readonly number[]) =>
    expect
      .poll(
        async () => {
          const files = await Promise.all(
            layers.map((i) => stat(partialOf(device, layerOf(i).descriptor.digest))),
          );
          return Math.min(...files.map(({ size }) => size));
        },
        { timeout: 60_000 },
      )
      .toBeGreaterThan(0);
  expect(await updateTo(device, at(authority))).toMatchObject({ code: "registry-refused" });
  // Less than the 30 s that a connection may be silent.
  expect(performance.now() - refusedAt).toBeLessThan(20_000);
  await expect.poll(() => held.map(({ destroyed }) => destroyed)).toEqual([true, true]);
  const kept = await Promise.all([0, 2].map((i) => stat(partialOf(device, layerOf(i).descriptor.digest))));
  for (const { size } of kept) expect(size).toBeGreaterThan(1_000_000);

  isFailing = false;
  ranges.clear();
  expect(await updateTo(device, at(authority))).toMatchObject({ code: "updated" });
  expect(ranges.get(0)).toBe(`bytes=${kept[0]?.size}-${layerOf(0).descriptor.size - 1}`);
  expect(ranges.get(2)).toBe(`bytes=${kept[1]?.size}-${layerOf(2).descriptor.size - 1}`);
  expect(ranges.get(1)).toBeUndefined();
  for (const { layer } of set.images) {
    expect(digestOf(await readFile(blobOf(device, layer.descriptor.digest)))).toBe(layer.descriptor.digest);
  }
});

test("nothing of an image is asked for twice, and nothing that the device has", async () => {
  const asked: string[] = [];
  const authority = await serveLayout(set.directory, (request) => {
    if (request.url?.startsWith("/v2/mos/")) asked.push(request.url);
    return false;
  });
  const device = await newDevice(signers);
  await updateTo(device, at(authority));
  expect(asked).toHaveLength(3 * set.images.length);
  expect(asked).toEqual([...new Set(asked)]);
  asked.length = 0;
  await updateTo(device, at(authority));
  expect(asked).toEqual([]);
});

test("no rate is exceeded by all downloads together", async () => {
  const device = await newDevice(signers);
  const rateLimit = 4_000_000;
  await setFetch(device, { ...impatient, rateLimit });
  const total = set.images.reduce((sum, { layer }) => sum + layer.descriptor.size, 0);
  const begun = performance.now();
  expect(await updateTo(device, at(await serveLayout(set.directory)))).toMatchObject({
    code: "updated",
  });
  const seconds = (performance.now() - begun) / 1000;
  expect(total / seconds).toBeLessThan(rateLimit);
  // And not much less either: 2 s for 7.9 MB, with everything else that an update does.
  expect(seconds).toBeLessThan((total / rateLimit) * 3 + 3);
});
