// What a device refuses of a published manifest whose parts are not what was signed (attacks A01, A06, A08, A13):
// each with its own error, and with nothing changed on the device.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { updateEnding } from "./device-fixture.ts";
import {
  damageBlob,
  expectPartsRefused,
  expectRefused,
  flipped,
  goodParts,
  type Image,
  imageOf,
  installArtifact,
  makeSigners,
  newDevice,
  type Parts,
  packImage,
  published,
  referrerOf,
  runningDevice,
  type Signers,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let image: Image;
let other: Image;
let good: Parts;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  image = await packImage(work, 64, "service");
  other = await packImage(work, 8, "other");
  good = goodParts(signers, image);
});
afterAll(() => rm(work, { recursive: true, force: true }));

test("a sound manifest gets as far as the units", async () => {
  const device = await runningDevice(signers, image);
  const { reference } = await published(good);
  expect((await updateEnding(device, reference)).code).toBe("updated");
  expect(await listGenerations(device.places)).toEqual([1, 2]);
});

describe("one bit flipped in a stored blob", () => {
  const blobs: Record<string, () => string> = {
    "install.json": () => digestOf(good.installJson),
    "the artifact": () => installArtifact(good).digest,
    "the certificate": () => digestOf(good.certificates[0] ?? ""),
    "the signature": () => digestOf(good.signatures[0] ?? ""),
    "the image manifest": () => image.manifest.descriptor.digest,
    "the image configuration": () => image.config.descriptor.digest,
    "the layer": () => image.layer.descriptor.digest,
  };
  test.each(Object.keys(blobs))("%s", async (name) => {
    const { reference, directory } = await published(good);
    await damageBlob(directory, blobs[name]?.() ?? "");
    const device = await newDevice(signers);
    await expectRefused(device, reference, "digest-mismatch");
    expect(await listGenerations(device.places)).toEqual([]);
  });
});

describe("one bit flipped, and every digest made right again", () => {
  const changes: Record<string, readonly [string, () => Parts]> = {
    "install.json": ["signature-invalid", () => ({ ...good, installJson: flipped(good.installJson) })],
    "the signature": [
      "signature-invalid",
      () => ({ ...good, signatures: good.signatures.map((s) => flipped(s)) }),
    ],
    "the certificate's key": [
      "chain-untrusted",
      // The end of the base64 text is the end of the issuer's signature.
      () => ({ ...good, certificates: [changeCharacter(signers.project.pem, "-----END", -8)] }),
    ],
    "the certificate's structure": [
      "certificate-malformed",
      () => ({ ...good, certificates: [changeCharacter(signers.project.pem, "MII", 1)] }),
    ],
    "the image manifest": [
      // install.json names the digest of the old one, which is not there any more.
      "not-found",
      () => ({
        ...good,
        image: { ...image, manifest: documentOf(`${Buffer.from(image.manifest.bytes)} `) },
      }),
    ],
    "the layer's verity tree, and signed so": [
      "verity-mismatch",
      () => {
        const bytes = flipped(image.layer.bytes, image.layer.bytes.length - 100);
        const changed = imageOf({ ...image.layer.descriptor, digest: digestOf(bytes) }, bytes);
        return goodParts(signers, changed);
      },
    ],
    "the layer's filesystem header, and signed so": [
      "layer-unsupported",
      () => {
        const bytes = flipped(image.layer.bytes, 0);
        const changed = imageOf({ ...image.layer.descriptor, digest: digestOf(bytes) }, bytes);
        return goodParts(signers, changed);
      },
    ],
  };
  test.each(Object.keys(changes))("%s", async (name) => {
    const [code, change] = changes[name] ?? ["", () => good];
    // The device has none of the image, or it would not ask for it.
    await expectPartsRefused(signers, other, change(), code);
  });

  test("anywhere in the certificate", async () => {
    const device = await newDevice(signers);
    const { pem } = signers.project;
    const body = pem.indexOf("\n") + 1;
    for (let at = body; at < pem.indexOf("-----END") - 3; at += 29) {
      const { reference } = await published({
        ...good,
        certificates: [flipped(Buffer.from(pem), at)],
      });
      const error = await updateEnding(device, reference);
      expect(error.exitCode, `${at}: ${error.code}`).toBe(4);
    }
    expect(await listGenerations(device.places)).toEqual([]);
  });
});

function documentOf(text: string) {
  const bytes = Buffer.from(text);
  return {
    bytes,
    descriptor: { mediaType: mediaTypes.manifest, digest: digestOf(bytes), size: bytes.length },
  };
}

/** Replaces one base64 character of a PEM text, so many after a mark. */
function changeCharacter(pem: string, mark: string, offset: number): Buffer {
  const at = pem.indexOf(mark) + offset;
  return Buffer.from(`${pem.slice(0, at)}${pem[at] === "A" ? "B" : "A"}${pem.slice(at + 1)}`);
}

describe("what is under the tag", () => {
  test("an image instead of a manifest", async () => {
    const { reference, directory } = await published(good);
    await (await Layout.open(directory)).putManifest(image.manifest.bytes, mediaTypes.manifest, "1.0.0");
    await expectRefused(await runningDevice(signers, image), reference, "artifact-type-wrong");
  });

  test("the signature instead of a manifest", async () => {
    const { directory } = await published(good);
    const signature = referrerOf("signature", good.signatures[0] ?? Buffer.of(), installArtifact(good));
    const reference = `oci:${directory}@${signature.digest}`;
    await expectRefused(await newDevice(signers), reference, "artifact-type-wrong");
  });

  test("nothing", async () => {
    const { directory } = await published(good);
    await expectRefused(await newDevice(signers), `oci:${directory}:9.9.9`, "not-found");
    await expectRefused(await newDevice(signers), `oci:${join(directory, "nowhere")}:1.0.0`, "not-found");
  });

  test.each(["image manifest", "configuration", "layer"])("no %s", async (what) => {
    const { reference, directory } = await published(good);
    const { manifest, config, layer } = image;
    const digests: Record<string, string> = {
      "image manifest": manifest.descriptor.digest,
      configuration: config.descriptor.digest,
      layer: layer.descriptor.digest,
    };
    await rm(join(directory, "blobs/sha256", (digests[what] ?? "").slice(7)));
    await expectRefused(
      await runningDevice(signers, image).then(async (device) => {
        await rm(join(device.places.state, "oci"), { recursive: true });
        return device;
      }),
      reference,
      "not-found",
    );
  });

  test("an image that says nothing to run", async () => {
    const idle = imageOf(image.layer.descriptor, image.layer.bytes, []);
    await expectPartsRefused(signers, image, goodParts(signers, idle), "image-unusable");
  });
});

test("a device without an anchor accepts nothing", async () => {
  const device = await newDevice(signers);
  const { reference } = await published(good);
  await rm(join(device.places.state, "../ca.pem"));
  await expectRefused(device, reference, "anchor-missing");
});
