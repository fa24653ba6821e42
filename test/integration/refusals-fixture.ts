// Devices, and published manifests made part by part, good by default: a test breaks one part.
import { createHash, KeyObject, sign } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { listGenerations } from "../../src/generation/generations.ts";
import { packLayer } from "../../src/layers/pack.ts";
import { encodeInstallManifest } from "../../src/manifest/install-json.ts";
import type { InstallManifest } from "../../src/manifest/schema.ts";
import { type Artifact, buildArtifact, emptyConfig } from "../../src/oci/artifacts.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type BuiltImage, buildImage } from "../../src/oci/image.ts";
import { Layout } from "../../src/oci/layout.ts";
import { type Descriptor, mediaTypes } from "../../src/oci/model.ts";
import { sampleManifest, sampleTarget } from "../samples.ts";
import { temporaryDirectory } from "../support.ts";
import { type Issued, make } from "../unit/trust/authority.ts";
import { contextIn, type Ending, snapshot, updateEnding } from "./device-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

const created = "2026-01-02T03:04:05Z";

/** An image of one layer, in memory. */
export interface Image extends BuiltImage {
  readonly layer: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
}

/** Everything under one tag. What is undefined is not there. */
export interface Parts {
  readonly image: Image;
  readonly installJson: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  readonly signatures: readonly Uint8Array[];
  /** Artifacts that are put before those of the certificates and signatures. */
  readonly strangers: readonly Artifact[];
}

/** A CA and a project under it. */
export interface Signers {
  readonly ca: Issued;
  readonly project: Issued;
}

export async function makeSigners(): Promise<Signers> {
  const ca = await make({ ca: true });
  return { ca, project: await make({ issuer: ca }) };
}

export function signWith({ keys }: Issued, bytes: Uint8Array): Uint8Array {
  return sign("sha256", bytes, KeyObject.from(keys.privateKey));
}

/** Packs a tree of one file that does not compress. The caller's directory is for files that are not kept. */
export async function packImage(work: string, kilobytes: number, seed: string): Promise<Image> {
  const tree = join(work, `tree-${seed}`);
  await mkdir(join(tree, "bin"), { recursive: true });
  const noise = Array.from({ length: kilobytes * 32 }, (_, i) =>
    createHash("sha256").update(`${seed} ${i}`).digest(),
  );
  await writeFile(join(tree, "bin/service"), Buffer.concat(noise));
  const source = { kind: "directory", path: tree } as const;
  const { path, descriptor } = await packLayer({ source, format: "squashfs", workDirectory: work });
  return imageOf(descriptor, await readFile(path));
}

/** Signers and one small image, for all tests of a file. @param seed makes it another image */
export async function signedImage(
  seed: string,
  kilobytes = 1,
): Promise<{ readonly signers: Signers; readonly image: Image }> {
  const work = await makeWorkDirectory();
  try {
    return { signers: await makeSigners(), image: await packImage(work, kilobytes, seed) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The image of a layer; it runs `/bin/service`. */
export function imageOf(descriptor: Descriptor, bytes: Uint8Array, entrypoint = ["/bin/service"]): Image {
  const run = { entrypoint, cmd: [], env: [], user: "", working_dir: "" };
  return { ...buildImage([descriptor], run), layer: { descriptor, bytes } };
}

/** A sound install.json with one service of the image; `change` replaces its parts. */
export function installManifest(image: Image, change: Partial<InstallManifest> = {}): Uint8Array {
  const { digest, size } = image.manifest.descriptor;
  return encodeInstallManifest(sampleManifest({ targets: [sampleTarget({ digest, size })], ...change }));
}

/** The parts of a published manifest that is as it should be. */
export function goodParts({ project }: Signers, image: Image, installJson?: Uint8Array): Parts {
  const manifest = installJson ?? installManifest(image);
  return {
    image,
    installJson: manifest,
    certificates: [Buffer.from(project.pem)],
    signatures: [signWith(project, manifest)],
    strangers: [],
  };
}

/** The install artifact of parts, as their referrers name it. */
export function installArtifact({ installJson }: Pick<Parts, "installJson">): Artifact {
  return buildArtifact("install", installJson, created);
}

export function referrerOf(
  kind: "certificate" | "signature",
  content: Uint8Array,
  subject: Pick<Artifact, "manifest" | "digest">,
): Artifact {
  return buildArtifact(kind, content, created, subject);
}

/** Writes parts to an OCI layout. Returns the reference of the tag. */
export async function writeParts(directory: string, parts: Parts): Promise<string> {
  const layout = await Layout.create(directory);
  const put = (descriptor: Descriptor, bytes: Uint8Array) =>
    layout.putBlob(descriptor, async function* () {
      yield bytes;
    });
  const { config, manifest, layer } = parts.image;
  await put(config.descriptor, config.bytes);
  await put(layer.descriptor, layer.bytes);
  await layout.putManifest(manifest.bytes, mediaTypes.manifest);
  const install = installArtifact(parts);
  const referrers = [
    ...parts.strangers,
    ...parts.certificates.map((content) => referrerOf("certificate", content, install)),
    ...parts.signatures.map((content) => referrerOf("signature", content, install)),
  ];
  await put({ mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: 2 }, emptyConfig);
  for (const artifact of [install, ...referrers]) {
    await put(artifact.layer, artifact.content);
    await layout.putManifest(artifact.manifest, mediaTypes.manifest);
  }
  await layout.putManifest(install.manifest, mediaTypes.manifest, "1.0.0");
  return `oci:${directory}:1.0.0`;
}

/** Publishes parts to a directory of their own, which ends with the test. */
export async function published(parts: Parts): Promise<{ reference: string; directory: string }> {
  const directory = join(await temporaryDirectory(), "layout");
  return { reference: await writeParts(directory, parts), directory };
}

/** A device to which nothing was applied yet, in a directory that ends with the test. */
export async function newDevice({ ca }: Signers): Promise<AgentContext> {
  const root = await temporaryDirectory();
  await writeFile(join(root, "ca.pem"), ca.pem);
  return contextIn(root);
}

/** A device whose first generation is a good one. Its units cannot be started here, where no systemd runs. */
export async function runningDevice(signers: Signers, image: Image): Promise<AgentContext> {
  const device = await newDevice(signers);
  const { reference } = await published(
    goodParts(signers, image, installManifest(image, { product: "before" })),
  );
  expect((await updateEnding(device, reference)).code).toBe("updated");
  return device;
}

/** Updates, and expects a refusal by which nothing has changed. */
export async function expectRefused(device: AgentContext, reference: string, code: string): Promise<Ending> {
  const before = await snapshot(device);
  const error = await updateEnding(device, reference);
  expect(error.code, error.message).toBe(code);
  expect(await snapshot(device)).toEqual(before);
  return error;
}

/** Flips one bit of a stored blob without telling anybody. */
export async function damageBlob(directory: string, digest: string, at?: number): Promise<void> {
  const path = join(directory, "blobs/sha256", digest.slice("sha256:".length));
  await writeFile(path, flipped(await readFile(path), at));
}

/** The bytes with one bit flipped, in the middle unless told. */
export function flipped(bytes: Uint8Array, at = bytes.length >> 1): Buffer {
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
  return changed;
}

/**
 * A device that runs something refuses the parts, and so does one to which nothing was applied.
 * @param sound what the first one runs
 */
export async function expectPartsRefused(
  signers: Signers,
  sound: Image,
  parts: Parts,
  code: string,
): Promise<Ending> {
  const { reference } = await published(parts);
  const running = await runningDevice(signers, sound);
  const error = await expectRefused(running, reference, code);
  expect(await listGenerations(running.places)).toEqual([1]);
  await expectRefused(await newDevice(signers), reference, code);
  return error;
}
