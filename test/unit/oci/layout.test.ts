// Reading a layout, and its manifests.
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readInstallArtifact } from "../../../src/oci/artifacts.ts";
import { digestFromHex, digestOf } from "../../../src/oci/digest.ts";
import { Layout } from "../../../src/oci/layout.ts";
import { type Descriptor, limits, mediaTypes } from "../../../src/oci/model.ts";
import { thisArchitecture } from "../../../src/oci/platform.ts";
import { hasSeedVectors, seedLayout, temporaryDirectory } from "../../support.ts";
import { collect, content, descriptor, newLayout, refused, whole } from "./layout-fixture.ts";

describe("reading from a layout", () => {
  it("gives a blob from any offset", async () => {
    const { layout } = await newLayout();
    await layout.storeBlob(descriptor, whole());
    for (const offset of [0, 1, 1_048_576, content.length - 1, content.length]) {
      expect((await collect(layout.blob(descriptor, offset))).equals(content.subarray(offset))).toBe(true);
    }
  });

  it("refuses a symbolic link, a directory and a wrong size in a blob's place", async () => {
    const { layout, path } = await newLayout();
    const blob = layout.blobPath(descriptor.digest);
    await writeFile(join(path, "elsewhere"), content);
    await symlink(join(path, "elsewhere"), blob);
    await expect(collect(layout.blob(descriptor))).rejects.toThrow(refused("state-invalid"));
    await expect(layout.smallBlob(descriptor, 1 << 30)).rejects.toThrow(refused("state-invalid"));
    await rm(blob);
    await mkdir(blob);
    await expect(layout.smallBlob(descriptor, 1 << 30)).rejects.toThrow(refused("state-invalid"));
    await rm(blob, { recursive: true });
    await writeFile(blob, content.subarray(1));
    await expect(collect(layout.blob(descriptor))).rejects.toThrow(refused("size-mismatch"));
    await expect(layout.smallBlob(descriptor, 1 << 30)).rejects.toThrow(refused("size-mismatch"));
    await rm(blob);
    await expect(collect(layout.blob(descriptor))).rejects.toThrow(refused("not-found"));
  });

  it("checks the digest of what it gives in memory, and its limit before reading", async () => {
    const { layout } = await newLayout();
    await writeFile(layout.blobPath(descriptor.digest), Buffer.alloc(content.length));
    await expect(layout.smallBlob(descriptor, 1 << 30)).rejects.toThrow(refused("digest-mismatch"));
    await expect(layout.smallBlob(descriptor, 100)).rejects.toThrow(refused("too-large"));
  });

  it("refuses a layout whose blobs are elsewhere", async () => {
    const { path } = await newLayout();
    await rm(join(path, "blobs"), { recursive: true });
    await mkdir(join(path, "elsewhere/sha256"), { recursive: true });
    await symlink("elsewhere", join(path, "blobs"));
    await expect(Layout.open(path)).rejects.toThrow(refused("state-invalid"));
  });

  it("says so when there is no layout, or one of another version", async () => {
    const path = await temporaryDirectory();
    await expect(Layout.open(path)).rejects.toThrow(refused("not-found"));
    await expect(Layout.open(join(path, "none"))).rejects.toThrow(refused("not-found"));
    await writeFile(join(path, "oci-layout"), '{"imageLayoutVersion":"2.0.0"}');
    await expect(Layout.open(path)).rejects.toThrow(refused("document-invalid"));
  });

  it("can be made again without losing anything", async () => {
    const { layout, path } = await newLayout();
    await layout.putManifest(manifestBytes("a"), mediaTypes.manifest, "1.0");
    const again = await Layout.create(path);
    expect((await again.manifest("1.0")).digest).toBe(digestOf(manifestBytes("a")));
  });
});

function manifestBytes(note: string, subject?: Descriptor): Uint8Array {
  const config = { mediaType: mediaTypes.empty, digest: digestOf("{}"), size: 2 };
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: "application/x-note",
    config,
    layers: [],
    subject,
    annotations: { note },
  };
  return new TextEncoder().encode(JSON.stringify(document));
}

function manifestDescriptor(bytes: Uint8Array): Descriptor {
  return { mediaType: mediaTypes.manifest, digest: digestOf(bytes), size: bytes.length };
}

describe("manifests of a layout", () => {
  it("are found by tag and by digest; a tag moves", async () => {
    const { layout } = await newLayout();
    const [a, b] = [manifestBytes("a"), manifestBytes("b")];
    await layout.putManifest(a, mediaTypes.manifest, "1.0");
    expect(await layout.hasManifest("1.0")).toBe(true);
    expect(await layout.hasManifest("1.1")).toBe(false);
    await layout.putManifest(b, mediaTypes.manifest, "1.0");
    expect((await layout.manifest("1.0")).bytes).toEqual(b);
    expect(await layout.manifest(digestOf(a))).toEqual({
      digest: digestOf(a),
      size: a.length,
      mediaType: mediaTypes.manifest,
      bytes: a,
    });
    await expect(layout.manifest("1.1")).rejects.toThrow(refused("not-found"));
    await expect(layout.manifest(digestOf("none"))).rejects.toThrow(refused("not-found"));
  });

  it("put at the same time are all listed", async () => {
    const { layout } = await newLayout();
    const tags = Array.from({ length: 10 }, (_, at) => `v${at}`);
    await Promise.all(tags.map((tag) => layout.putManifest(manifestBytes(tag), mediaTypes.manifest, tag)));
    for (const tag of tags) expect(await layout.hasManifest(tag)).toBe(true);
  });

  it("with a subject are its referrers, and have no tag", async () => {
    const { layout } = await newLayout();
    const subject = manifestBytes("subject");
    await layout.putManifest(subject, mediaTypes.manifest, "1.0");
    const referrer = manifestBytes("referrer", manifestDescriptor(subject));
    await layout.putManifest(referrer, mediaTypes.manifest, "ignored");
    await layout.putManifest(referrer, mediaTypes.manifest);
    await layout.putManifest(manifestBytes("other"), mediaTypes.manifest);
    expect(await layout.referrers(digestOf(subject))).toEqual([
      {
        ...manifestDescriptor(referrer),
        ...{ artifactType: "application/x-note", annotations: { note: "referrer" } },
      },
    ]);
    expect(await layout.hasManifest("ignored")).toBe(false);
  });

  it("that are damaged are still offered as referrers, so that using them says why", async () => {
    const { layout } = await newLayout();
    const subject = manifestBytes("subject");
    const referrer = manifestBytes("referrer", manifestDescriptor(subject));
    await layout.putManifest(referrer, mediaTypes.manifest);
    await writeFile(
      layout.blobPath(digestOf(referrer)),
      referrer.map((byte) => byte ^ 1),
    );
    const [offered] = await layout.referrers(digestOf(subject));
    expect(offered?.digest).toBe(digestOf(referrer));
    await expect(layout.manifest(digestOf(referrer))).rejects.toThrow(refused("digest-mismatch"));
  });

  it("of an index are chosen for this machine", async () => {
    const { layout } = await newLayout();
    const [ours, theirs] = [manifestBytes("ours"), manifestBytes("theirs")];
    await layout.putManifest(ours, mediaTypes.manifest);
    await layout.putManifest(theirs, mediaTypes.manifest);
    const entry = (bytes: Uint8Array, architecture: string) => ({
      ...manifestDescriptor(bytes),
      platform: { architecture, os: "linux" },
    });
    const index = (manifests: object[]) =>
      new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }));
    const both = index([entry(theirs, "s390x"), entry(ours, thisArchitecture())]);
    await layout.putManifest(both, mediaTypes.index, "multi");
    expect((await layout.manifest("multi")).digest).toBe(digestOf(ours));
    expect((await layout.manifest(digestOf(both))).digest).toBe(digestOf(ours));
    await layout.putManifest(index([entry(theirs, "s390x")]), mediaTypes.index, "theirs");
    await expect(layout.manifest("theirs")).rejects.toThrow(refused("not-found"));
  });

  it("can be listed anew in one step", async () => {
    const { layout } = await newLayout();
    const [a, b] = [manifestBytes("a"), manifestBytes("b")];
    await layout.putManifest(a, mediaTypes.manifest, "old");
    await layout.putManifest(b, mediaTypes.manifest);
    await layout.setReferences([{ descriptor: manifestDescriptor(b), name: digestOf(b) }]);
    expect(await layout.hasManifest("old")).toBe(false);
    expect((await layout.manifest(digestOf(b))).bytes).toEqual(b);
  });
});

describe.skipIf(!hasSeedVectors)("the layout of seed 004", () => {
  it("is read: manifest, content and both referrers", async () => {
    const layout = await Layout.open(seedLayout);
    const install = await layout.manifest("1.0.0");
    const json = await layout.smallBlob(readInstallArtifact(install, "install"), limits.installManifest);
    expect(digestOf(json)).toBe(
      digestFromHex("50a93be19bf1027b8363554359e288890324fa7e21002df072e50955e8336954"),
    );
    const types = (await layout.referrers(install.digest)).map(({ artifactType }) => artifactType);
    expect(types.sort()).toEqual(["application/vnd.machine.pubkeycrt", "application/vnd.machine.signature"]);
  });
});
