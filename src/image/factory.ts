// The release that comes with an image: a published manifest, its signatures and all its images, copied into an OCI
// layout. The device takes it from there at its first start as it takes any update: nothing of it is trusted before.
import { MosError } from "../errors/mos-error.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import { readInstallArtifact } from "../oci/artifacts.ts";
import type { Digest } from "../oci/digest.ts";
import { limits, mediaTypes, parseManifest } from "../oci/model.ts";
import { openRepositories, openWritable } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import type { Repository, WritableRepository } from "../oci/source.ts";
import { factoryTag } from "./disk-layout.ts";

/** More referrers than this are somebody's who fills the registry. */
const maxReferrers = 64;

/** A manifest with its configuration and layers. @returns its digest */
async function copyImage(
  from: Repository,
  to: WritableRepository,
  reference: string,
  tag?: string,
): Promise<Digest> {
  const { bytes, digest } = await from.manifest(reference);
  const { config, layers } = parseManifest(bytes, `${from.name} ${reference}`);
  for (const descriptor of [config, ...layers]) await to.putBlob(descriptor, () => from.blob(descriptor));
  await to.putManifest(bytes, mediaTypes.manifest, tag);
  return digest;
}

/**
 * Copies a release.
 * @param reference of the published manifest
 * @param directory of the new layout
 * @returns the digest of the install artifact
 * @throws MosError `reference-invalid`, `artifact-type-wrong`, `manifest-refused`, and what fetching throws
 */
export async function copyRelease(reference: string, directory: string): Promise<Digest> {
  const from = openRepositories(parseReference(reference));
  const to = openWritable({ kind: "oci", directory, reference: factoryTag }).install;
  const fetched = await from.install.manifest(from.reference);
  const layer = readInstallArtifact(fetched, reference);
  const manifest = parseInstallManifest(await from.install.smallBlob(layer, limits.installManifest));
  for (const target of manifest.targets) {
    const digest = await copyImage(from.images, to, target.digest, target.digest.slice("sha256:".length));
    if (digest !== target.digest) {
      throw new MosError("digest-mismatch", `cannot copy ${target.service_name}: it is not what was signed`, {
        about: target.digest,
      });
    }
  }
  const referrers = (await from.install.referrers(fetched.digest)).slice(0, maxReferrers);
  for (const { digest } of referrers.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)))
    await copyImage(from.install, to, digest);
  await copyImage(from.install, to, fetched.digest, factoryTag);
  return fetched.digest;
}
