// What a device refuses of a published manifest whose parts are not what was signed, or signed by somebody else
// (attacks A01, A06, A08, A13, A24): each with its own error, and with nothing changed on the device.
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { make } from "../unit/trust/authority.ts";
import { updateError } from "./device-fixture.ts";
import {
  damageBlob,
  expectRefused,
  flipped,
  goodParts,
  type Image,
  imageOf,
  installArtifact,
  installManifest,
  makeSigners,
  newDevice,
  type Parts,
  packImage,
  published,
  referrerOf,
  runningDevice,
  type Signers,
  signWith,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let image: Image;
let good: Parts;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  image = await packImage(work, 64, "service");
  good = goodParts(signers, image);
});
afterAll(() => rm(work, { recursive: true, force: true }));

/** A device with a generation refuses the parts, and so does one with none. */
async function expectPartsRefused(parts: Parts, code: string) {
  const { reference } = await published(parts);
  const device = await runningDevice(signers, image);
  const error = await expectRefused(device, reference, code);
  expect(await listGenerations(device.places)).toEqual([1]);
  await expectRefused(await newDevice(signers), reference, code);
  return error;
}

test("a sound manifest gets as far as the units", async () => {
  const device = await runningDevice(signers, image);
  const { reference } = await published(good);
  expect((await updateError(device, reference)).code).toBe("systemd-failed");
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
    await expectPartsRefused(change(), code);
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
      const error = await updateError(device, reference);
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

describe("a signature that does not count", () => {
  /** Certificates and signature of another signer than the project. */
  const by = (
    signer: Parameters<typeof signWith>[0],
    ...others: readonly { readonly pem: string }[]
  ): Parts => ({
    ...good,
    certificates: [Buffer.from([signer, ...others].map(({ pem }) => pem).join(""))],
    signatures: [signWith(signer, good.installJson)],
  });

  test("by another key than the certificate's", async () => {
    const other = await make({ issuer: signers.ca });
    await expectPartsRefused(
      { ...good, signatures: [signWith(other, good.installJson)] },
      "signature-invalid",
    );
  });

  test("over another manifest of the same project", async () => {
    const before = installManifest(image, { product: "before" });
    await expectPartsRefused(
      { ...good, signatures: [signWith(signers.project, before)] },
      "signature-invalid",
    );
  });

  test("by an expired certificate", async () => {
    const expired = await make({ issuer: signers.ca, notAfter: "2021-01-01" });
    await expectPartsRefused(by(expired), "certificate-expired");
  });

  test("by a certificate of the future", async () => {
    const future = await make({ issuer: signers.ca, notBefore: "2039-01-01" });
    await expectPartsRefused(by(future), "certificate-not-yet-valid");
  });

  test("through an intermediate that is no CA", async () => {
    const middle = await make({ issuer: signers.ca, subject: "CN=Middle" });
    const leaf = await make({ issuer: middle });
    await expectPartsRefused(by(leaf, middle), "chain-not-ca");
  });

  test("under another CA of the same name", async () => {
    const ca = await make({ ca: true });
    const leaf = await make({ issuer: ca });
    await expectPartsRefused(by(leaf), "chain-untrusted");
    await expectPartsRefused(by(leaf, ca), "chain-untrusted");
  });

  test("by the CA itself", async () => {
    await expectPartsRefused(by(signers.ca), "chain-constraint");
  });

  test("by a certificate that signs itself", async () => {
    await expectPartsRefused(by(await make({})), "chain-untrusted");
  });
});

describe("what is attached", () => {
  test("no signature", async () => {
    await expectPartsRefused({ ...good, signatures: [] }, "signature-missing");
  });

  test("no certificate", async () => {
    await expectPartsRefused({ ...good, certificates: [] }, "certificate-missing");
  });

  test("a signature that belongs to another manifest", async () => {
    const other = installArtifact({ installJson: installManifest(image, { product: "other" }) });
    const stranger = referrerOf("signature", good.signatures[0] ?? Buffer.of(), other);
    await expectPartsRefused({ ...good, signatures: [], strangers: [stranger] }, "signature-missing");
  });

  test("garbage beside the good ones does no harm", async () => {
    const install = installArtifact(good);
    const strangers = [
      ...Array.from({ length: 12 }, (_, i) => referrerOf("signature", Buffer.from(`garbage ${i}`), install)),
      referrerOf("signature", signWith(await make({}), good.installJson), install),
      referrerOf("certificate", Buffer.from("garbage"), install),
      referrerOf("certificate", Buffer.from((await make({})).pem), install),
      referrerOf("certificate", Buffer.alloc(70_000, "x"), install),
    ];
    const device = await newDevice(signers);
    const { reference } = await published({ ...good, strangers });
    expect((await updateError(device, reference)).code).toBe("systemd-failed");
    expect(await listGenerations(device.places)).toEqual([1]);
  });

  test("garbage alone is refused, and the error tells of each attempt", async () => {
    const other = await make({ issuer: signers.ca });
    const error = await expectPartsRefused(
      {
        ...good,
        certificates: [Buffer.from("garbage"), ...good.certificates],
        signatures: [signWith(other, good.installJson), Buffer.from("garbage")],
      },
      "signature-invalid",
    );
    expect(error.problems.map((line) => line.split(":")[0])).toEqual([
      ...["signature-invalid", "signature-invalid"],
      ...["certificate-malformed", "certificate-malformed"],
    ]);
  });
});

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
    await expectPartsRefused(goodParts(signers, idle), "image-unusable");
  });
});

test("a device without an anchor accepts nothing", async () => {
  const device = await newDevice(signers);
  const { reference } = await published(good);
  await rm(join(device.places.state, "../ca.pem"));
  await expectRefused(device, reference, "anchor-missing");
});
