// The registry client against Debian's docker-registry 2.8, which has no referrers API, and read by skopeo.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildArtifact, emptyConfig } from "../../src/oci/artifacts.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { type Descriptor, mediaTypes, parseIndex } from "../../src/oci/model.ts";
import { openImage, openRepositories, openWritable } from "../../src/oci/open.ts";
import { thisArchitecture } from "../../src/oci/platform.ts";
import { parseDestination, parseReference } from "../../src/oci/reference.ts";
import type { Repository, WritableRepository } from "../../src/oci/source.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";
import { startRegistry } from "./registry-fixture.ts";

let registry: Awaited<ReturnType<typeof startRegistry>>;
beforeAll(async () => {
  registry = await startRegistry();
});
afterAll(() => registry.stop());

const created = "2026-01-02T03:04:05Z";
const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

async function* pieces(bytes: Uint8Array, size = 65_536): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function writable(name: string) {
  return openWritable(parseDestination(registry.authority, name));
}

function descriptorOf(bytes: Uint8Array, mediaType = "application/octet-stream"): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

async function collect(blob: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of blob) found.push(Uint8Array.from(piece));
  return Buffer.concat(found);
}

/** Pushes a small image that other tools can read. Returns its manifest. */
async function pushImage(to: WritableRepository, tag: string, layer: Uint8Array): Promise<Uint8Array> {
  const config = encode({
    architecture: thisArchitecture(),
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
  });
  await to.putBlob(descriptorOf(layer), () => pieces(layer));
  await to.putBlob(descriptorOf(config), () => pieces(config));
  const manifest = encode({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorOf(config, mediaTypes.config),
    layers: [descriptorOf(layer, mediaTypes.tarLayer)],
  });
  await to.putManifest(manifest, mediaTypes.manifest, tag);
  return manifest;
}

async function pushArtifact(
  to: WritableRepository,
  artifact: ReturnType<typeof buildArtifact>,
  tag?: string,
) {
  await to.putBlob(artifact.layer, () => pieces(artifact.content));
  await to.putBlob(descriptorOf(emptyConfig), () => pieces(emptyConfig));
  return await to.putManifest(artifact.manifest, mediaTypes.manifest, tag);
}

describe("pushing and fetching", () => {
  test("a manifest, its blobs and its digest come back as they were pushed", async () => {
    const { install: repository } = writable("a/image:1.0");
    const layer = randomBytes(300_000);
    const manifest = await pushImage(repository, "1.0", layer);
    const fetched = await repository.manifest("1.0");
    expect(Buffer.from(fetched.bytes).equals(manifest)).toBe(true);
    expect(fetched).toMatchObject({ digest: digestOf(manifest), mediaType: mediaTypes.manifest });
    expect(await repository.manifest(fetched.digest)).toMatchObject({ digest: fetched.digest });
    expect((await collect(repository.blob(descriptorOf(layer)))).equals(layer)).toBe(true);
    expect(
      (await collect(repository.blob(descriptorOf(layer), 123_456))).equals(layer.subarray(123_456)),
    ).toBe(true);
    expect(Buffer.from(await repository.smallBlob(descriptorOf(layer), 300_000)).equals(layer)).toBe(true);
  });

  test("pushing again sends nothing", async () => {
    const { install: repository } = writable("again/image:1");
    const blob = randomBytes(1000);
    expect(await repository.putBlob(descriptorOf(blob), () => pieces(blob))).toBe("sent");
    const never = (): AsyncIterable<Uint8Array> => {
      throw new Error("opened again");
    };
    expect(await repository.putBlob(descriptorOf(blob), never)).toBe("present");
  });

  test("an empty blob can be pushed and fetched", async () => {
    const { install: repository } = writable("empty/image:1");
    const nothing = new Uint8Array(0);
    await repository.putBlob(descriptorOf(nothing), () => pieces(nothing));
    expect(await collect(repository.blob(descriptorOf(nothing)))).toHaveLength(0);
  });

  test("a tag that moves to another manifest is written", async () => {
    const { install: repository } = writable("moving/image:1");
    await pushImage(repository, "1", randomBytes(10));
    const second = await pushImage(repository, "1", randomBytes(10));
    expect((await repository.manifest("1")).digest).toBe(digestOf(second));
  });

  test("what is not there is not found, and a look for it says no", async () => {
    const { install: repository } = writable("a/image:1.0");
    const digest = digestOf("nothing");
    expect(await repository.hasManifest("9.9")).toBe(false);
    await expect(repository.manifest("9.9")).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringContaining("MANIFEST_UNKNOWN"),
    });
    await expect(collect(repository.blob({ mediaType: "x", digest, size: 7 }))).rejects.toMatchObject({
      code: "not-found",
    });
    await expect(writable("no/such:1").install.manifest("1")).rejects.toMatchObject({ code: "not-found" });
  });

  test("a blob that is not what its descriptor says is a failed push", async () => {
    const { install: repository } = writable("wrong/image:1");
    const blob = randomBytes(1000);
    const wrong = { ...descriptorOf(blob), digest: digestOf("other") };
    await expect(repository.putBlob(wrong, () => pieces(blob))).rejects.toMatchObject({
      code: "push-failed",
      message: expect.stringContaining("DIGEST_INVALID"),
    });
    for (const size of [999, 1001]) {
      const lying = { ...descriptorOf(blob), size };
      await expect(repository.putBlob(lying, () => pieces(blob))).rejects.toMatchObject({
        code: "size-mismatch",
      });
    }
  });

  test("a manifest whose blobs are missing is a failed push", async () => {
    const { install: repository } = writable("incomplete/image:1");
    const manifest = encode({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: descriptorOf(encode("missing"), mediaTypes.config),
      layers: [],
    });
    await expect(repository.putManifest(manifest, mediaTypes.manifest, "1")).rejects.toMatchObject({
      code: "push-failed",
      message: expect.stringMatching(/PUT \/v2\/incomplete\/image\/manifests\/1 .* 40[04]/),
    });
  });

  test("a source that fails while it is pushed fails the push with its own error", async () => {
    const { install: repository } = writable("broken/image:1");
    const failing = async function* () {
      yield new Uint8Array(10);
      throw new Error("the disk is gone");
    };
    await expect(repository.putBlob({ ...descriptorOf(randomBytes(20)) }, failing)).rejects.toThrow(
      "the disk is gone",
    );
  });

  test("an index leads to the manifest for this machine", async () => {
    const { install: repository } = writable("multi/image:1");
    const manifest = await pushImage(repository, "only", randomBytes(10));
    const other = await pushImage(repository, "other", randomBytes(10));
    const index = encode({
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: [
        { ...descriptorOf(other, mediaTypes.manifest), platform: { os: "linux", architecture: "mips" } },
        {
          ...descriptorOf(manifest, mediaTypes.manifest),
          platform: { os: "linux", architecture: thisArchitecture() },
        },
      ],
    });
    await repository.putManifest(index, mediaTypes.index, "1");
    expect((await repository.manifest("1")).digest).toBe(digestOf(manifest));
  });

  test("skopeo reads what was pushed, and its image is read", async () => {
    const { install: repository } = writable("skopeo/image:1");
    const layer = Buffer.alloc(10_240);
    const manifest = await pushImage(repository, "1", layer);
    const directory = await temporaryDirectory();
    const source = `docker://${registry.authority}/skopeo/image`;
    await run("skopeo", [
      "copy",
      "--preserve-digests",
      "--src-tls-verify=false",
      `${source}:1`,
      `oci:${directory}/copy:1`,
    ]);
    const copy = await Layout.open(join(directory, "copy"));
    expect((await copy.manifest("1")).digest).toBe(digestOf(manifest));
    await run("skopeo", [
      "copy",
      "--preserve-digests",
      "--dest-tls-verify=false",
      `oci:${directory}/copy:1`,
      `${source}:2`,
    ]);
    const opened = openImage(parseReference(`${source}:2`));
    expect((await opened.manifest("2")).digest).toBe(digestOf(manifest));
  });
});

describe("referrers through the fallback tag", () => {
  async function published(name: string) {
    const { install: repository } = writable(`${name}:1`);
    const install = buildArtifact("install", encode({ some: "manifest" }), created);
    const certificate = buildArtifact("certificate", encode("certificate"), created, install);
    const signature = buildArtifact("signature", encode("signature"), created, install);
    await pushArtifact(repository, install, "1");
    await pushArtifact(repository, certificate);
    await pushArtifact(repository, signature);
    return { repository, install, certificate, signature };
  }

  async function indexOf(repository: Repository, subject: Digest) {
    const { stdout } = await run("curl", [
      "-sSf",
      "-H",
      `Accept: ${mediaTypes.index}`,
      `http://${registry.authority}/v2/${repository.name.slice(registry.authority.length + 1)}/manifests/sha256-${hexOf(subject)}`,
    ]);
    return parseIndex(new TextEncoder().encode(stdout), "index");
  }

  test("certificate and signature are listed with type and annotations", async () => {
    const { repository, install, certificate, signature } = await published("referred/install");
    expect(await repository.referrers(install.digest)).toMatchObject([
      {
        digest: certificate.digest,
        size: certificate.manifest.length,
        artifactType: "application/vnd.machine.pubkeycrt",
        annotations: { "org.opencontainers.image.created": created },
      },
      { digest: signature.digest, artifactType: "application/vnd.machine.signature" },
    ]);
  });

  test("publishing twice lists each referrer once", async () => {
    const { repository, install, certificate } = await published("twice/install");
    await pushArtifact(repository, certificate);
    expect((await indexOf(repository, install.digest)).manifests).toHaveLength(2);
  });

  test("a referrer that was pushed but not listed, as after a crash, is listed by the next push", async () => {
    const { install: repository } = writable("crashed/install:1");
    const install = buildArtifact("install", encode({ some: "manifest" }), created);
    const signature = buildArtifact("signature", encode("signature"), created, install);
    await pushArtifact(repository, install, "1");
    await repository.putBlob(signature.layer, () => pieces(signature.content));
    await run("curl", [
      "-sSf",
      "-X",
      "PUT",
      "-H",
      `Content-Type: ${mediaTypes.manifest}`,
      "--data-binary",
      new TextDecoder().decode(signature.manifest),
      `http://${registry.authority}/v2/crashed/install/manifests/${signature.digest}`,
    ]);
    expect(await repository.referrers(install.digest)).toEqual([]);
    await pushArtifact(repository, signature);
    expect(await repository.referrers(install.digest)).toMatchObject([{ digest: signature.digest }]);
  });

  test("a manifest that nothing refers to has an empty list", async () => {
    expect(await writable("referred/install:1").install.referrers(digestOf("nothing"))).toEqual([]);
  });

  test("install manifest and images are read from the repositories that belong together", async () => {
    await published("whole/install");
    const { images } = writable("whole/install:1");
    const image = await pushImage(images, "image", randomBytes(20));
    const opened = openRepositories(parseReference(`${registry.authority}/whole/install:1`));
    expect(opened.images.name).toBe(`${registry.authority}/mos`);
    expect((await opened.images.manifest(digestOf(image))).digest).toBe(digestOf(image));
    expect((await opened.install.manifest(opened.reference)).size).toBeGreaterThan(0);
  });
});
