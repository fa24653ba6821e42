// Fetching from Debian's registry, and from a second one as its mirror, which goes away in the middle.
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes, parseManifest } from "../../src/oci/model.ts";
import { openWritable } from "../../src/oci/open.ts";
import { parseReference } from "../../src/oci/reference.ts";
import type { WritableRepository } from "../../src/oci/source.ts";
import { type PublishedSet, publishSet, setFetch, updateTo } from "./fetch-fixture.ts";
import { makeSigners, newDevice, type Signers } from "./refusals-fixture.ts";
import { startRegistry } from "./registry-fixture.ts";
import { expectWhole } from "./through-fault.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
let registry: Awaited<ReturnType<typeof startRegistry>>;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  // More than what connections have on their way.
  set = await publishSet(work, signers, [24_000, 300, 300]);
  registry = await startRegistry();
  await push(registry.authority);
});
afterAll(async () => {
  await registry.stop();
  await rm(work, { recursive: true, force: true });
});

const at = (authority: string) => `${authority}/machine/install:1.0.0`;

async function copy(layout: Layout, to: WritableRepository, reference: string, tag?: string): Promise<void> {
  const { bytes } = await layout.manifest(reference);
  const { config, layers } = parseManifest(bytes, reference);
  for (const blob of [config, ...layers]) await to.putBlob(blob, () => layout.blob(blob));
  await to.putManifest(bytes, mediaTypes.manifest, tag);
}

/** Puts the set into a registry. */
async function push(authority: string): Promise<void> {
  const layout = await Layout.open(set.directory);
  const { install, images } = openWritable(parseReference(at(authority)));
  for (const { manifest } of set.images) await copy(layout, images, manifest.descriptor.digest);
  await copy(layout, install, "1.0.0", "1.0.0");
  const { digest } = await layout.manifest("1.0.0");
  for (const referrer of await layout.referrers(digest)) await copy(layout, install, referrer.digest);
}

test("several layers at a time", async () => {
  const device = await newDevice(signers);
  expect(await updateTo(device, at(registry.authority))).toMatchObject({ code: "updated" });
  await expectWhole(device, set);
  expect(await listGenerations(device.places)).toEqual([1]);
});

test("a mirror that is killed while a layer comes from it: the registry sends the rest", async () => {
  const mirror = await startRegistry();
  await push(mirror.authority);
  const device = await newDevice(signers);
  await setFetch(device, { mirrors: { [registry.authority]: [mirror.authority] }, rateLimit: 10_000_000 });
  let killed: Promise<void> | undefined;
  const error = await updateTo(device, at(registry.authority), (event) => {
    if (event.kind === "bytes" && event.done > 2_000_000) killed ??= mirror.stop();
  });
  expect(error.code, error.message).toBe("updated");
  expect(killed).toBeDefined();
  await killed;
  await expectWhole(device, set);
});

test("a mirror that has none of it", async () => {
  const mirror = await startRegistry();
  try {
    const device = await newDevice(signers);
    await setFetch(device, { mirrors: { [registry.authority]: [mirror.authority] } });
    expect(await updateTo(device, at(registry.authority))).toMatchObject({ code: "updated" });
    await expectWhole(device, set);
  } finally {
    await mirror.stop();
  }
});
