// mosctl verify: checks a published manifest without touching the device, and says how far the check went.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import { digestFromHex, digestOf } from "../oci/digest.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import type { ManifestSigner } from "../trust/manifest-signature.ts";
import { judge } from "./candidate.ts";
import type { AgentContext } from "./context.ts";
import { openSource } from "./fetch-source.ts";
import { fetchImageDocuments } from "./image-documents.ts";
import { fetchCandidates } from "./signed-manifest.ts";
import { loadTrust } from "./trust.ts";

/**
 * How far the check goes. `signature`: the manifest alone, its images are not at hand; `images`: also every image
 * manifest and configuration; `content`: also every byte of every layer.
 */
export type VerifyLevel = "signature" | "images" | "content";

export interface VerifyResult {
  readonly level: VerifyLevel;
  /** Where the policy is from that it was held against. */
  readonly policy: string;
  readonly artifactDigest: string;
  readonly manifestDigest: string;
  readonly manifest: InstallManifest;
  readonly signers: readonly [ManifestSigner, ...ManifestSigner[]];
}

/**
 * Whether this device would accept a manifest, by its trust as it is. What runs here does not count: an older
 * release, or one of another product on a device without an identity, is judged by `mosctl update`.
 * @throws MosError naming the check that failed
 */
export async function verifyReference(
  context: AgentContext,
  reference: string,
  level: VerifyLevel,
): Promise<VerifyResult> {
  const source = await openSource(context, reference);
  const candidates = await fetchCandidates(source.install, source.reference);
  const trust = await loadTrust(context);
  const { manifest, signers } = await judge(context, trust, {
    candidates,
    running: undefined,
    allowOlder: true,
  });
  if (level !== "signature") {
    for (const target of manifest.targets) await verifyImage(source.images, target, level);
  }
  return {
    level,
    policy: trust.policy.source,
    artifactDigest: candidates.artifact,
    manifestDigest: digestOf(candidates.manifest),
    manifest,
    signers,
  };
}

async function verifyImage(images: Repository, target: Target, level: VerifyLevel): Promise<void> {
  const { image } = await fetchImageDocuments(async () => images, target);
  if (level === "content") for (const layer of image.layers) await verifyContent(images, layer);
}

async function verifyContent(images: Repository, layer: Descriptor): Promise<void> {
  for (;;) {
    const hash = createHash("sha256");
    for await (const piece of images.blob(layer)) hash.update(piece);
    const actual = digestFromHex(hash.digest("hex"));
    if (actual === layer.digest) return;
    // A mirror may have sent something else: then the others are asked.
    if (images.distrust?.(layer) === true) continue;
    throw new MosError("digest-mismatch", `a layer has the digest ${actual}, not ${layer.digest}`, {
      about: layer.digest,
    });
  }
}
