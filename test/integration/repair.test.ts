// A store that was damaged is mended by the next update, where that can be told without reading all of it.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { storePath } from "../../src/generation/places.ts";
import { updateError } from "./device-fixture.ts";
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
  for (const [digest, at] of [
    [manifest.descriptor.digest, undefined],
    [config.descriptor.digest, undefined],
    [layer.digest, 0],
  ] as const) {
    // As far as an update comes where systemd does not run: everything is in the store and current.
    expect((await updateError(device, reference)).code).toBe("systemd-failed");
    await damageBlob(storePath(device.places), digest, at);
  }
  expect((await updateError(device, reference)).code).toBe("systemd-failed");
});
