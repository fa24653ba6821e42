// Whether a manifest is published already: the same install.json under the same tag, with every signer's
// certificate and a good signature. ECDSA signatures and times differ each time, so this is what makes publishing
// twice change nothing.
import { MosError } from "../errors/mos-error.ts";
import { artifactTypes, readInstallArtifact, readReferrer } from "../oci/artifacts.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { limits } from "../oci/model.ts";
import type { FetchedManifest, WritableRepository } from "../oci/source.ts";
import { readCertificates } from "../trust/certificate.ts";
import { verifySignature } from "../trust/signature.ts";
import type { Destination } from "./publish.ts";
import type { Signer } from "./sign.ts";

type ReferrerKind = "certificate" | "signature";

/** The digest of the artifact that is there, or undefined when something has to be published. */
export async function findPublished(
  { install, tag }: Destination,
  signers: readonly Signer[],
  installJson: Uint8Array,
): Promise<Digest | undefined> {
  const fetched = await manifestWith(install, tag, digestOf(installJson));
  if (fetched === undefined) return undefined;
  for (const signer of signers) {
    if (!(await isSignedAlready(install, fetched.digest, installJson, signer))) return undefined;
  }
  return fetched.digest;
}

/** Whether an install artifact has this signer's certificate and a good signature of theirs. */
export async function isSignedAlready(
  install: WritableRepository,
  artifact: Digest,
  installJson: Uint8Array,
  { project, certificates }: Signer,
): Promise<boolean> {
  const [{ publicKey }] = readCertificates(new TextEncoder().encode(project.certificatePem));
  const checks: Readonly<Record<ReferrerKind, (content: Uint8Array) => boolean>> = {
    certificate: (content) => Buffer.compare(content, certificates) === 0,
    signature: (content) => {
      verifySignature(installJson, content, publicKey);
      return true;
    },
  };
  const found = new Set<ReferrerKind>();
  for (const { digest, artifactType } of await install.referrers(artifact)) {
    for (const kind of ["certificate", "signature"] as const) {
      if (artifactType !== undefined && artifactType !== artifactTypes[kind]) continue;
      if (await holds(install, digest, kind, artifact, checks[kind])) found.add(kind);
    }
  }
  return found.size === 2;
}

/** The artifact under a tag when it holds this install.json; whatever else is there will be replaced. */
async function manifestWith(
  install: WritableRepository,
  tag: string,
  content: Digest,
): Promise<FetchedManifest | undefined> {
  try {
    const fetched = await install.manifest(tag);
    const layer = readInstallArtifact(fetched, `${install.name}:${tag}`);
    if (layer.digest !== content) return undefined;
    // Named is not yet there: a registry may have lost it.
    await install.smallBlob(layer, limits.installManifest);
    return fetched;
  } catch (error) {
    const replaceable = ["not-found", "artifact-type-wrong", "document-invalid", "too-large"];
    if (error instanceof MosError && replaceable.includes(error.code)) return undefined;
    throw error;
  }
}

/** Whether a referrer is of a kind and its content passes; a referrer of somebody else simply does not. */
async function holds(
  install: WritableRepository,
  referrer: Digest,
  kind: ReferrerKind,
  subject: Digest,
  check: (content: Uint8Array) => boolean,
): Promise<boolean> {
  try {
    const layer = readReferrer(
      await install.manifest(referrer),
      kind,
      subject,
      `${install.name} ${referrer}`,
    );
    return check(await install.smallBlob(layer, limits[kind]));
  } catch (error) {
    if (error instanceof MosError) return false;
    throw error;
  }
}
