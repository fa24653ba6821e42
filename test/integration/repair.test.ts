// A store that was damaged is mended by the next update, where that can be told without reading all of it.
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { storePath } from "../../src/generation/places.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { updateEnding } from "./device-fixture.ts";
import { damageBlob, goodParts, makeSigners, newDevice, packImage, published } from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

test("a damaged image manifest, configuration or layer superblock in the store is fetched again", async () => {
  const work = await makeWorkDirectory();
  onTestFinished(() => rm(work, { recursive: true, force: true }));
  const signers = await makeSigners();
  const image = await packImage(work, 16, "service");
  const { reference, directory } = await published(goodParts(signers, image));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const device = await newDevice(signers);
  onTestFinished(() => rm(join(device.places.state, ".."), { recursive: true, force: true }));
  const { manifest, config } = image;
  const [layer] = JSON.parse(new TextDecoder().decode(manifest.bytes)).layers;
  expect((await updateEnding(device, reference)).code).toBe("updated");
  for (const [digest, at] of [
    [manifest.descriptor.digest, undefined],
    [config.descriptor.digest, undefined],
    [layer.digest, 0],
  ] as const) {
    await damageBlob(storePath(device.places), digest, at);
    expect((await updateEnding(device, reference)).code).toMatch(/^(repaired|unchanged)$/);
    const path = join(storePath(device.places), "blobs/sha256", digest.slice("sha256:".length));
    expect(digestOf(await readFile(path))).toBe(digest);
  }
});
