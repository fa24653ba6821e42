// mosctl verify: checks a published manifest without touching the device, and says how far the check went.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import { digestFromHex, digestOf } from "../oci/digest.ts";
import { type Descriptor, limits, parseConfig, parseManifest } from "../oci/model.ts";
import { openRepositories } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import type { Repository } from "../oci/source.ts";
import { type AnchorSource, loadAnchors } from "../trust/anchors.ts";
import { trustedNow } from "../trust/clock.ts";
import type { ManifestSigner } from "../trust/manifest-signature.ts";
import { chooseSigned, fetchCandidates } from "./signed-manifest.ts";

/**
 * How far the check goes. `signature`: the manifest alone, its images are not at hand; `images`: also every image
 * manifest and configuration; `content`: also every byte of every layer.
 */
export type VerifyLevel = "signature" | "images" | "content";

export interface VerifyResult {
  readonly level: VerifyLevel;
  readonly artifactDigest: string;
  readonly manifestDigest: string;
  readonly manifest: InstallManifest;
  readonly signer: ManifestSigner;
}

/** @throws MosError naming the check that failed */
export async function verifyReference(
  reference: string,
  sources: readonly AnchorSource[],
  buildTime: Date,
  level: VerifyLevel,
): Promise<VerifyResult> {
  const source = openRepositories(parseReference(reference));
  const candidates = await fetchCandidates(source.install, source.reference);
  const anchors = await loadAnchors(sources);
  const now = trustedNow(new Date(), [{ date: buildTime, source: "the time at which mos was built" }]);
  const { parts, signer } = chooseSigned(candidates, anchors, { kind: "at", ...now });
  const manifest = parseInstallManifest(parts.manifest);
  if (level !== "signature") {
    for (const target of manifest.targets) await verifyImage(source.images, target, level);
  }
  return {
    level,
    artifactDigest: candidates.artifact,
    manifestDigest: digestOf(parts.manifest),
    manifest,
    signer,
  };
}

async function verifyImage(images: Repository, target: Target, level: VerifyLevel): Promise<void> {
  const about = `image of ${target.service_name}`;
  const fetched = await images.manifest(target.digest);
  if (fetched.size !== target.size) {
    throw new MosError(
      "size-mismatch",
      `the ${about} has a manifest of ${fetched.size} bytes, the signed manifest says ${target.size}`,
      {
        about: target.digest,
      },
    );
  }
  const image = parseManifest(fetched.bytes, about);
  parseConfig(await images.smallBlob(image.config, limits.config), `configuration of the ${about}`);
  if (level === "content") for (const layer of image.layers) await verifyContent(images, layer);
}

async function verifyContent(images: Repository, layer: Descriptor): Promise<void> {
  const hash = createHash("sha256");
  for await (const piece of images.blob(layer)) hash.update(piece);
  const actual = digestFromHex(hash.digest("hex"));
  if (actual !== layer.digest) {
    throw new MosError("digest-mismatch", `a layer has the digest ${actual}, not ${layer.digest}`, {
      about: layer.digest,
    });
  }
}
