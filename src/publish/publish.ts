// mosb manifest publish: from a manifest to artifacts that a device accepts. Images go first, the signed parts
// after them, and the tag last: whoever can see the new tag can fetch everything that belongs to it.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LayerFormat } from "../layers/pack.ts";
import { compileManifest } from "../manifest/compile.ts";
import { encodeInstallManifest } from "../manifest/install-json.ts";
import type { ImportManifest } from "../manifest/schema.ts";
import { type Artifact, buildArtifact, emptyConfig } from "../oci/artifacts.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { mediaTypes } from "../oci/model.ts";
import type { WritableRepository } from "../oci/source.ts";
import type { Project } from "../trust/keyset.ts";
import { signBytes } from "../trust/signature.ts";
import { findPublished } from "./already-published.ts";
import { type PreparedImage, prepareImage, sendImage } from "./images.ts";

export interface Destination {
  readonly install: WritableRepository;
  readonly images: WritableRepository;
  /** The tag that the manifest gets. */
  readonly tag: string;
}

interface PublishInput {
  readonly manifest: ImportManifest;
  readonly baseDirectory: string;
  readonly project: Project;
  readonly destination: Destination;
  readonly format: LayerFormat;
  /** RFC 3339 time for the artifacts' annotations. */
  readonly created: string;
  readonly onStep: (what: string) => void;
}

export interface Published {
  readonly outcome: "published" | "unchanged";
  readonly artifactDigest: Digest;
  readonly manifestDigest: Digest;
  readonly targets: readonly { readonly name: string; readonly digest: Digest; readonly bytes: number }[];
  /** Bytes of layers and configurations that had to be sent. */
  readonly sentBytes: number;
}

/** @throws MosError of any step; the tag is then what it was before */
export async function publish(input: PublishInput): Promise<Published> {
  const workDirectory = await mkdtemp(join(tmpdir(), "mosb-"));
  try {
    const images: PreparedImage[] = [];
    for (const target of input.manifest.targets) {
      input.onStep(`preparing ${target.service_name}`);
      images.push(
        await prepareImage(target, {
          format: input.format,
          workDirectory,
          baseDirectory: input.baseDirectory,
        }),
      );
    }
    input.onStep("compiling");
    const installJson = encodeInstallManifest(compileManifest(input.manifest, images));
    let sentBytes = 0;
    for (const [i, image] of images.entries()) {
      input.onStep(`sending ${input.manifest.targets[i]?.service_name ?? ""}`);
      sentBytes += await sendImage(image, input.destination.images);
    }
    input.onStep("signing");
    const signed = await sendSigned(input, installJson);
    return {
      ...signed,
      manifestDigest: digestOf(installJson),
      targets: images.map(({ digest, blobs }, i) => ({
        name: input.manifest.targets[i]?.service_name ?? "",
        digest,
        bytes: blobs.reduce((sum, { descriptor }) => sum + descriptor.size, 0),
      })),
      sentBytes,
    };
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}

async function* inMemory(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function sendSigned(
  { destination, project, created }: PublishInput,
  installJson: Uint8Array,
): Promise<Pick<Published, "outcome" | "artifactDigest">> {
  const existing = await findPublished(destination, project, installJson);
  if (existing !== undefined) return { outcome: "unchanged", artifactDigest: existing };
  const certificate = new TextEncoder().encode(project.certificatePem);
  const install = buildArtifact("install", installJson, created);
  const artifacts: Artifact[] = [
    install,
    buildArtifact("certificate", certificate, created, install),
    buildArtifact("signature", signBytes(installJson, project.key), created, install),
  ];
  const config = { mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: emptyConfig.length };
  await destination.install.putBlob(config, () => inMemory(emptyConfig));
  for (const { layer, content, manifest } of artifacts) {
    await destination.install.putBlob(layer, () => inMemory(content));
    await destination.install.putManifest(manifest, mediaTypes.manifest);
  }
  await destination.install.putManifest(install.manifest, mediaTypes.manifest, destination.tag);
  return { outcome: "published", artifactDigest: install.digest };
}
