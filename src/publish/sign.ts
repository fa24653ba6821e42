// Signatures of a published manifest: for each signer a certificate and a signature as referrers of the install
// artifact. Several people can sign the same manifest, each on a machine of their own.
import { MosError } from "../errors/mos-error.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { type Artifact, buildArtifact, emptyConfig, readInstallArtifact } from "../oci/artifacts.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { limits, mediaTypes } from "../oci/model.ts";
import type { WritableRepository } from "../oci/source.ts";
import { readCertificates } from "../trust/certificate.ts";
import type { Project } from "../trust/keyset.ts";
import { checkProduct } from "../trust/product.ts";
import { signBytes } from "../trust/signature.ts";
import { isSignedAlready } from "./already-published.ts";

/** Somebody who signs, and what is attached for them. */
export interface Signer {
  readonly project: Project;
  /** PEM: the signing certificate, then the CA's for devices that know it by its key only. */
  readonly certificates: Uint8Array;
}

/** @param withCa attach the CA's certificate too */
export function signerOf(project: Project, withCa: boolean): Signer {
  const text = withCa ? `${project.certificatePem.trimEnd()}\n${project.caPem}` : project.certificatePem;
  return { project, certificates: new TextEncoder().encode(text) };
}

/**
 * Refuses to sign what no device would accept.
 * @throws MosError `product-mismatch` when the manifest is for another product than the signer's certificate
 */
export function checkSigner(manifest: { readonly product: string }, { project }: Signer): void {
  const [{ subject }] = readCertificates(new TextEncoder().encode(project.certificatePem));
  checkProduct({
    manifest: manifest.product,
    signerName: subject.commonName,
    device: undefined,
    running: undefined,
  });
}

/** The certificate and the signature of a signer, as referrers of the install artifact. */
export function signatureArtifacts(
  install: Pick<Artifact, "manifest" | "digest">,
  installJson: Uint8Array,
  { project, certificates }: Signer,
  created: string,
): readonly [Artifact, Artifact] {
  return [
    buildArtifact("certificate", certificates, created, install),
    buildArtifact("signature", signBytes(installJson, project.key), created, install),
  ];
}

async function* inMemory(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Sends artifacts, without a tag. */
export async function sendArtifacts(
  repository: WritableRepository,
  artifacts: readonly Artifact[],
): Promise<void> {
  const config = { mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: emptyConfig.length };
  await repository.putBlob(config, () => inMemory(emptyConfig));
  for (const { layer, content, manifest } of artifacts) {
    await repository.putBlob(layer, () => inMemory(content));
    await repository.putManifest(manifest, mediaTypes.manifest);
  }
}

export interface Signed {
  readonly outcome: "signed" | "unchanged";
  readonly artifactDigest: Digest;
  readonly manifestDigest: Digest;
  readonly manifest: InstallManifest;
}

/**
 * Adds signatures to a manifest that is published already.
 * @param reference tag or digest
 * @throws MosError `product-mismatch`, `manifest-refused`, and what fetching and sending throw
 */
export async function signPublished(
  repository: WritableRepository,
  reference: string,
  signers: readonly Signer[],
  created: string,
): Promise<Signed> {
  const fetched = await repository.manifest(reference);
  const layer = readInstallArtifact(fetched, `${repository.name} ${reference}`);
  const installJson = await repository.smallBlob(layer, limits.installManifest);
  const manifest = parseInstallManifest(installJson);
  for (const signer of signers) checkSigner(manifest, signer);
  const install = { manifest: fetched.bytes, digest: fetched.digest };
  let sent = 0;
  for (const signer of signers) {
    if (await isSignedAlready(repository, fetched.digest, installJson, signer)) continue;
    await sendArtifacts(repository, signatureArtifacts(install, installJson, signer, created));
    sent++;
  }
  return {
    outcome: sent === 0 ? "unchanged" : "signed",
    artifactDigest: fetched.digest,
    manifestDigest: digestOf(installJson),
    manifest,
  };
}

/** Two signers with one key would count as one. @throws MosError `usage` */
export function checkDistinct(signers: readonly Signer[]): void {
  const paths = signers.map(({ project }) => project.path);
  const twice = paths.find((path, i) => path !== "" && paths.indexOf(path) !== i);
  if (twice !== undefined)
    throw new MosError("usage", "cannot sign twice with the same project", { about: twice });
}
