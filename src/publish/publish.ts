// mosb manifest publish: from a manifest to artifacts that a device accepts. Images go first, the signed parts
// after them, and the tag last: whoever can see the new tag can fetch everything that belongs to it.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import type { LayerFormat, PackedLayer } from "../layers/pack.ts";
import { compileManifest } from "../manifest/compile.ts";
import { encodeInstallManifest } from "../manifest/install-json.ts";
import type { ImportManifest } from "../manifest/schema.ts";
import { buildArtifact } from "../oci/artifacts.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { limits, mediaTypes } from "../oci/model.ts";
import type { WritableRepository } from "../oci/source.ts";
import { readCertificates } from "../trust/certificate.ts";
import { findPublished } from "./already-published.ts";
import { checkBootPair } from "./boot-pair.ts";
import { type PreparedImage, prepareImage, sendImage } from "./images.ts";
import type { ViewedLayer } from "./layer-file.ts";
import { findOlderLayers, type PublishedPatch, sendPatches } from "./patches.ts";
import { encryptSecrets } from "./secrets.ts";
import { checkDistinct, checkSigner, type Signer, sendArtifacts, signatureArtifacts } from "./sign.ts";

export interface Destination {
  readonly install: WritableRepository;
  readonly images: WritableRepository;
  /** The tag that the manifest gets. */
  readonly tag: string;
}

interface PublishInput {
  readonly manifest: ImportManifest;
  readonly baseDirectory: string;
  readonly signers: readonly Signer[];
  readonly destination: Destination;
  readonly format: LayerFormat;
  /** Older publications, from whose layers patches are published. */
  readonly patchFrom: readonly string[];
  /** Services whose programs are not looked for in their images. */
  readonly unchecked?: readonly string[];
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
  /** What roots were packed as, when there were any. */
  readonly packed?: LayerFormat;
  /** Patches that were made; what was there already is not among them. */
  readonly patches: readonly PublishedPatch[];
}

/** @throws MosError of any step; the tag is then what it was before */
export async function publish(input: PublishInput): Promise<Published> {
  checkDistinct(input.signers);
  refuseUnknown(input);
  for (const signer of input.signers) checkSigner(input.manifest, signer);
  const anchors = await readAnchorFiles(input.manifest.release?.anchors ?? [], input.baseDirectory);
  const secrets = await encryptSecrets(input.manifest, input.baseDirectory);
  const older = await findOlderLayers(input.patchFrom);
  const workDirectory = await mkdtemp(join(tmpdir(), "mosb-"));
  try {
    const images: PreparedImage[] = [];
    const shared = {
      converted: new Map<string, PackedLayer | undefined>(),
      viewed: new Map<Digest, ViewedLayer>(),
      unchecked: new Set(input.unchecked),
    };
    for (const target of input.manifest.targets) {
      input.onStep(`preparing ${target.service_name}`);
      images.push(
        await prepareImage(target, {
          format: input.format,
          workDirectory,
          baseDirectory: input.baseDirectory,
          ...shared,
        }),
      );
    }
    await checkBootPair(input.manifest, images, workDirectory);
    input.onStep("compiling");
    const installJson = encodeInstallManifest(compileManifest(input.manifest, images, anchors, secrets));
    checkSize(installJson);
    let sentBytes = 0;
    for (const [i, image] of images.entries()) {
      input.onStep(`sending ${input.manifest.targets[i]?.service_name ?? ""}`);
      sentBytes += await sendImage(image, input.destination.images);
    }
    // Before the tag, so that the first device that sees it can use them.
    const patches: PublishedPatch[] = [];
    for (const [i, image] of images.entries()) {
      if (older.length === 0) break;
      const name = input.manifest.targets[i]?.service_name ?? "";
      input.onStep(`making patches for ${name}`);
      patches.push(...(await sendPatches(name, image, older, input.destination.images, workDirectory)));
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
      patches,
      ...(input.manifest.targets.some(({ source }) => source.startsWith("rootfs:"))
        ? { packed: input.format }
        : {}),
    };
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}

/** @throws MosError `usage` */
function refuseUnknown({ manifest, unchecked = [] }: PublishInput): void {
  for (const name of unchecked) {
    if (manifest.targets.some(({ service_name }) => service_name === name)) continue;
    throw new MosError("usage", `cannot leave ${name} unchecked: the manifest has no such service`, {
      about: name,
    });
  }
}

function checkSize({ length }: Uint8Array): void {
  if (length <= limits.installManifest) return;
  throw new MosError(
    "manifest-invalid",
    `cannot publish a manifest of ${length} bytes: devices read ${limits.installManifest}`,
    { hint: "Secrets take most of the room: fewer or smaller ones, or fewer devices in one manifest." },
  );
}

/** The certificates of PEM files, in order. @throws MosError `file-unreadable`, `certificate-malformed` */
async function readAnchorFiles(files: readonly string[], baseDirectory: string): Promise<Uint8Array[]> {
  const certificates: Uint8Array[] = [];
  for (const file of files) {
    const path = resolve(baseDirectory, file);
    let pem: Uint8Array;
    try {
      pem = await readFile(path);
    } catch (error) {
      const why = asMosError(error).message;
      throw new MosError("file-unreadable", `cannot read a trust anchor for release.anchors: ${why}`, {
        about: path,
        cause: error,
      });
    }
    certificates.push(...readCertificates(pem).map(({ der }) => der));
  }
  return certificates;
}

async function sendSigned(
  { destination, signers, created }: PublishInput,
  installJson: Uint8Array,
): Promise<Pick<Published, "outcome" | "artifactDigest">> {
  const existing = await findPublished(destination, signers, installJson);
  if (existing !== undefined) return { outcome: "unchanged", artifactDigest: existing };
  const install = buildArtifact("install", installJson, created);
  const signatures = signers.flatMap((signer) => signatureArtifacts(install, installJson, signer, created));
  await sendArtifacts(destination.install, [install, ...signatures]);
  await destination.install.putManifest(install.manifest, mediaTypes.manifest, destination.tag);
  return { outcome: "published", artifactDigest: install.digest };
}
