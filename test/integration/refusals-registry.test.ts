// What a device refuses of a registry that is broken, lies, or never comes to an end (attacks A09, A12, A13, A17):
// a real update against a server that serves a good set but for one thing, and nothing changed on the device.
import { rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { serve } from "./bad-registry.ts";
import { updateEnding } from "./device-fixture.ts";
import { at, endless, send, sendIndex, serveParts, superblock, type Tamper } from "./layout-server.ts";
import {
  expectRefused,
  goodParts,
  type Image,
  installArtifact,
  installManifest,
  makeSigners,
  type Parts,
  packImage,
  referrerOf,
  runningDevice,
  type Signers,
  signWith,
} from "./refusals-fixture.ts";
import { startRegistry } from "./registry-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
/** What runs on the device before. */
let small: Image;
/** What it is to fetch: large enough for a connection of its own. */
let image: Image;
let good: Parts;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  small = await packImage(work, 16, "before");
  image = await packImage(work, 1500, "service");
  good = goodParts(signers, image);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const layerPath = () => image.layer.descriptor.digest;
const configPath = () => image.config.descriptor.digest;
const imagePath = () => image.manifest.descriptor.digest;
const tagPath = () => "/manifests/1.0.0";

test("what a registry serves as it was published gets as far as the units", async () => {
  const device = await runningDevice(signers, small);
  expect((await updateEnding(device, await serveParts(good))).code).toBe("updated");
  expect(await listGenerations(device.places)).toEqual([1, 2]);
});

async function expectTamperRefused(tamper: Tamper, code: string) {
  const device = await runningDevice(signers, small);
  const error = await expectRefused(device, await serveParts(good, tamper), code);
  const store = await Layout.open(join(device.places.state, "oci"));
  expect(await store.hasBlob(image.layer.descriptor)).toBe(false);
  return error;
}

describe("other bytes than the digest stands for", () => {
  const other =
    (bytes: () => Uint8Array, headers = {}) =>
    (response: ServerResponse) =>
      send(
        response,
        bytes().map((byte) => byte ^ 1),
        headers,
      );
  const manifestType = { "Content-Type": mediaTypes.manifest };
  test.each<[string, () => string, (response: ServerResponse) => void]>([
    ["the image manifest", imagePath, other(() => image.manifest.bytes, manifestType)],
    ["the image configuration", configPath, other(() => image.config.bytes)],
    ["the layer", layerPath, other(() => image.layer.bytes)],
    ["install.json", () => installArtifact(good).layer.digest, other(() => good.installJson)],
  ])("%s", async (_, end, answer) => {
    await expectTamperRefused(at(end, answer), "digest-mismatch");
  });

  test("an older set of the same project for its images", async () => {
    await expectTamperRefused(
      at(imagePath, (response) => send(response, small.manifest.bytes, manifestType)),
      "digest-mismatch",
    );
  });
});

describe("other sizes than were declared", () => {
  const cut = (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 4096);
  test.each<[string, () => string, (response: ServerResponse) => void]>([
    ["a shorter layer", layerPath, (response) => send(response, cut(image.layer.bytes))],
    [
      "a longer layer",
      layerPath,
      (response) => send(response, Buffer.concat([image.layer.bytes, Buffer.alloc(1)])),
    ],
    [
      "a longer configuration",
      configPath,
      (response) => send(response, Buffer.concat([image.config.bytes, Buffer.from(" ")])),
    ],
    ["a layer without end, in chunks", layerPath, (response) => endless(response)],
  ])("%s", async (_, end, answer) => {
    await expectTamperRefused(at(end, answer), "size-mismatch");
  });

  test("a manifest without end", async () => {
    await expectTamperRefused(
      at(tagPath, (response) => endless(response.setHeader("Content-Type", mediaTypes.manifest))),
      "too-large",
    );
  });

  test("a list of referrers without end", async () => {
    const tamper: Tamper = (request, response) => {
      if (!request.url?.includes("/referrers/")) return false;
      response.setHeader("Link", `<${request.url}>; rel="next"`);
      sendIndex(response, []);
      return true;
    };
    await expectTamperRefused(tamper, "too-large");
  });
});

describe("a registry that is not there, or not well", () => {
  test("nothing listens", async () => {
    const { authority, server } = await serve(() => undefined);
    await new Promise((resolve) => server.close(resolve));
    const device = await runningDevice(signers, small);
    await expectRefused(device, `${authority}/machine/install:1.0.0`, "registry-unreachable");
  });

  test("it breaks off in the layer each time", async () => {
    const tamper = at(layerPath, (response) => {
      response.writeHead(200, { "Content-Length": image.layer.bytes.length });
      response.write(image.layer.bytes.subarray(0, 100_000), () => response.destroy());
    });
    await expectTamperRefused(tamper, "registry-unreachable");
  });

  test("it ends in the layer once, and the next update goes on there", async () => {
    let isBroken = true;
    const ranges: (string | undefined)[] = [];
    const reference = await serveParts(good, (request, response) => {
      if (!(request.url ?? "").endsWith(layerPath())) return false;
      if (request.headers.range === superblock) return false;
      ranges.push(request.headers.range);
      if (!isBroken) return false;
      response.writeHead(200, { "Content-Length": image.layer.bytes.length });
      response.write(image.layer.bytes.subarray(0, 1_100_000), () => response.destroy());
      return true;
    });
    const device = await runningDevice(signers, small);
    await expectRefused(device, reference, "registry-unreachable");
    isBroken = false;
    ranges.length = 0;
    expect((await updateEnding(device, reference)).code).toBe("updated");
    expect(ranges[0]).toMatch(/^bytes=[1-9]/);
  });

  test.each([
    [500, "registry-refused"],
    [403, "registry-refused"],
    [404, "not-found"],
  ])("it answers %i for the layer", async (status, code) => {
    await expectTamperRefused(
      at(layerPath, (response) => response.writeHead(status).end()),
      code,
    );
  });

  test("a portal's page instead of the manifest", async () => {
    const page = Buffer.from("<html>Welcome to our WLAN</html>");
    await expectTamperRefused(
      at(tagPath, (response) => send(response, page, { "Content-Type": "text/html" })),
      "registry-invalid",
    );
  });
});

describe("a list of referrers that lies", () => {
  /** The referrers of another manifest of the project, said to be this one's. */
  const strangers = () => {
    const other = installArtifact({ installJson: installManifest(image, { product: "other" }) });
    return [
      referrerOf("certificate", good.certificates[0] ?? Buffer.of(), other),
      referrerOf("signature", signWith(signers.project, other.content), other),
    ];
  };
  const listing =
    (all: readonly { readonly manifest: Uint8Array; readonly digest: Digest }[]): Tamper =>
    (request, response) => {
      if (!request.url?.includes("/referrers/")) return false;
      const entries = all.map(({ manifest, digest }) => ({
        mediaType: mediaTypes.manifest,
        digest,
        size: manifest.length,
      }));
      sendIndex(response, entries);
      return true;
    };

  test("a certificate and a signature of another manifest", async () => {
    const device = await runningDevice(signers, small);
    const reference = await serveParts({ ...good, strangers: strangers() }, listing(strangers()));
    await expectRefused(device, reference, "digest-mismatch");
  });

  test("beside the good ones it does no harm, and neither does what is not there", async () => {
    const install = installArtifact(good);
    const gone = referrerOf("signature", Buffer.from("gone"), install);
    const own = [
      ...good.certificates.map((content) => referrerOf("certificate", content, install)),
      ...good.signatures.map((content) => referrerOf("signature", content, install)),
    ];
    const device = await runningDevice(signers, small);
    const reference = await serveParts(
      { ...good, strangers: strangers() },
      listing([gone, ...strangers(), install, ...own]),
    );
    expect((await updateEnding(device, reference)).code).toBe("updated");
    expect(await listGenerations(device.places)).toEqual([1, 2]);
  });

  test("none", async () => {
    const device = await runningDevice(signers, small);
    await expectRefused(device, await serveParts(good, listing([])), "certificate-missing");
  });
});

test("a registry that does not go on is left, wherever it stops", async () => {
  const started = (length: number) => (response: ServerResponse) => {
    response.writeHead(200, { "Content-Length": length, "Content-Type": mediaTypes.manifest });
    response.write("{");
  };
  const tampers: readonly Tamper[] = [
    at(tagPath, () => undefined),
    at(tagPath, started(1000)),
    at(configPath, started(image.config.bytes.length)),
    at(layerPath, () => undefined),
    at(layerPath, started(image.layer.bytes.length)),
  ];
  await Promise.all(tampers.map((tamper) => expectTamperRefused(tamper, "registry-timeout")));
});

test("Debian's registry, stopped between two updates", async () => {
  const registry = await startRegistry();
  const device = await runningDevice(signers, small);
  await registry.stop();
  await expectRefused(device, `${registry.authority}/machine/install:1.0.0`, "registry-unreachable");
});
