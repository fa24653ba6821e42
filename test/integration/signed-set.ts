// A published set in an OCI layout, good unless a test changes one part of it before it is signed, after it is
// signed, or on the disk.
import { KeyObject, sign } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentContext } from "../../src/agent/context.ts";
import { packLayer } from "../../src/layers/pack.ts";
import { encodeInstallManifest } from "../../src/manifest/install-json.ts";
import { type Artifact, buildArtifact, emptyConfig } from "../../src/oci/artifacts.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { buildImage } from "../../src/oci/image.ts";
import { Layout } from "../../src/oci/layout.ts";
import { type Descriptor, mediaTypes } from "../../src/oci/model.ts";
import { sampleManifest, sampleTarget } from "../samples.ts";
import { type Issued, make } from "../unit/trust/authority.ts";

const created = "2026-01-01T00:00:00Z";

/** What one change to a good set can be. */
export interface Change {
  /** Changes the document before it is signed. */
  readonly document?: (document: Document) => unknown;
  /** Changes a part after it was signed; everything that points to it is made to fit. */
  readonly manifest?: (bytes: Buffer) => Buffer;
  readonly signature?: (bytes: Buffer) => Buffer;
  readonly certificates?: (pem: string) => string;
  /** Who signs, instead of the project; and what certificates go with it. */
  readonly signer?: Issued;
  /** Leaves an artifact out. */
  readonly without?: "signature" | "certificate";
  /** A garbage signature is attached beside the good one, before it. */
  readonly bogus?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: tests put anything into it
type Document = any;

/** Keys, a packed layer and its image: made once for all sets of a test file. */
export interface Material {
  readonly ca: Issued;
  readonly signer: Issued;
  readonly layer: { readonly path: string; readonly descriptor: Descriptor };
  readonly image: ReturnType<typeof buildImage>;
}

export async function makeMaterial(directory: string): Promise<Material> {
  const ca = await make({ ca: true });
  const signer = await make({ issuer: ca });
  const tree = join(directory, "tree");
  await mkdir(tree, { recursive: true });
  await writeFile(join(tree, "file"), Buffer.alloc(100_000, "content of a layer "));
  const layer = await packLayer({
    source: { kind: "directory", path: tree },
    format: "squashfs",
    workDirectory: directory,
  });
  const image = buildImage([layer.descriptor], {
    entrypoint: ["/server"],
    cmd: [],
    env: [],
    user: "",
    working_dir: "",
  });
  return { ca, signer, layer, image };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function goodDocument({ image }: Material): Document {
  const target = sampleTarget({
    digest: image.manifest.descriptor.digest,
    size: image.manifest.bytes.length,
  });
  return JSON.parse(new TextDecoder().decode(encodeInstallManifest(sampleManifest({ targets: [target] }))));
}

/** Writes a set and returns the reference of its manifest. */
export async function writeSet(directory: string, material: Material, change: Change = {}): Promise<string> {
  const layout = await Layout.create(directory);
  const { layer, image } = material;
  await layout.putBlob(layer.descriptor, async function* () {
    yield await readFile(layer.path);
  });
  await layout.putBlob(image.config.descriptor, () => once(image.config.bytes));
  await layout.putManifest(image.manifest.bytes, mediaTypes.manifest);
  const document = goodDocument(material);
  change.document?.(document);
  const signer = change.signer ?? material.signer;
  const signed = Buffer.from(JSON.stringify(document));
  const signature = sign("sha256", signed, KeyObject.from(signer.keys.privateKey));
  const install = buildArtifact("install", change.manifest?.(Buffer.from(signed)) ?? signed, created);
  const artifacts: Artifact[] = [install];
  if (change.bogus === true)
    artifacts.push(buildArtifact("signature", Buffer.from("garbage"), created, install));
  if (change.without !== "certificate") {
    const pem = change.certificates?.(signer.pem) ?? signer.pem;
    artifacts.push(buildArtifact("certificate", Buffer.from(pem), created, install));
  }
  if (change.without !== "signature") {
    artifacts.push(buildArtifact("signature", change.signature?.(signature) ?? signature, created, install));
  }
  await layout.putBlob({ mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: 2 }, () =>
    once(emptyConfig),
  );
  for (const artifact of artifacts) {
    await layout.putBlob(artifact.layer, () => once(artifact.content));
    await layout.putManifest(artifact.manifest, mediaTypes.manifest, artifact === install ? "1" : undefined);
  }
  return `oci:${directory}:1`;
}

/** Flips one bit in the middle of a buffer. */
export function flip(bytes: Buffer): Buffer {
  const at = bytes.length >> 1;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

/** Flips one bit of a blob where it lies. */
export async function flipBlob(directory: string, digest: Digest): Promise<void> {
  const path = join(directory, "blobs/sha256", hexOf(digest));
  await writeFile(path, flip(await readFile(path)));
}

/** A device whose state and units are below `root`, and which trusts the material's CA. */
export async function deviceAt(root: string, { ca }: Material): Promise<AgentContext> {
  await mkdir(join(root, "state"), { recursive: true });
  await writeFile(join(root, "ca.pem"), ca.pem);
  return {
    places: { state: join(root, "state"), run: join(root, "run") },
    unitDirectory: join(root, "units"),
    quadletDirectory: join(root, "quadlets"),
    anchors: [`file:${join(root, "ca.pem")}`],
    buildTime: new Date(0),
  };
}
