// The signed parts of a published manifest, fetched. Anybody can attach referrers to a manifest, so every
// certificate is later tried with every signature; a bogus one is no way to deny service.
import { MosError } from "../errors/mos-error.ts";
import type { SignedParts } from "../generation/signed-parts.ts";
import { artifactTypes, readInstallArtifact, readReferrer } from "../oci/artifacts.ts";
import type { Digest } from "../oci/digest.ts";
import { limits } from "../oci/model.ts";
import type { FetchedManifest, Repository } from "../oci/source.ts";
import type { SignaturePair } from "../trust/manifest-signature.ts";

/** Referrers of one kind that are looked at. More are ignored: somebody is filling the registry. */
const maxReferrers = 32;

/** A manifest and everything that claims to sign it. Nothing of it is trusted yet. */
export interface SigningCandidates {
  /** Digest of the install artifact. */
  readonly artifact: Digest;
  readonly manifest: Uint8Array;
  readonly certificates: readonly Uint8Array[];
  readonly signatures: readonly Uint8Array[];
}

/** A manifest that the device has, with the signatures that it was accepted by. */
export interface KnownManifest extends SignedParts {
  readonly artifact: Digest;
}

/**
 * Fetches an install manifest and its referrers.
 * @param reference tag or digest
 * @param known when the reference still names it, nothing more is asked for
 * @throws MosError `artifact-type-wrong`, `certificate-missing`, `signature-missing`, and what fetching throws
 */
export async function fetchCandidates(
  repository: Repository,
  reference: string,
  known?: KnownManifest,
): Promise<SigningCandidates> {
  const fetched = await repository.manifest(reference);
  if (known !== undefined && known.artifact === fetched.digest) {
    const { artifact, manifest, signatures } = known;
    const certificates = signatures.map((pair) => pair.certificates);
    return { artifact, manifest, certificates, signatures: signatures.map((pair) => pair.signature) };
  }
  const layer = readInstallArtifact(fetched, `${repository.name} ${reference}`);
  const manifest = await repository.smallBlob(layer, limits.installManifest);
  const certificates = await fetchReferrers(repository, fetched, "certificate");
  const signatures = await fetchReferrers(repository, fetched, "signature");
  return { artifact: fetched.digest, manifest, certificates, signatures };
}

async function fetchReferrers(
  repository: Repository,
  subject: FetchedManifest,
  kind: "certificate" | "signature",
): Promise<Uint8Array[]> {
  const listed = (await repository.referrers(subject.digest)).filter(
    // Registries before distribution 1.1 do not repeat the type in the list; then the manifest itself says it.
    ({ artifactType }) => artifactType === undefined || artifactType === artifactTypes[kind],
  );
  const contents: Uint8Array[] = [];
  let problem: unknown;
  for (const descriptor of listed.slice(0, maxReferrers)) {
    try {
      const fetched = await repository.manifest(descriptor.digest);
      const layer = readReferrer(fetched, kind, subject.digest, `${repository.name} ${descriptor.digest}`);
      contents.push(await repository.smallBlob(layer, limits[kind]));
    } catch (error) {
      // A referrer of another type is no problem, and a broken one only if no other will do.
      if (!(error instanceof MosError && error.code === "artifact-type-wrong")) problem ??= error;
    }
  }
  if (contents.length > 0) return contents;
  if (problem !== undefined) throw problem;
  throw new MosError(`${kind}-missing`, `${repository.name} has no ${kind} for ${subject.digest}`, {
    about: subject.digest,
  });
}

/** Every certificate with every signature: which belong together shows only when they verify. */
export function* allPairs({ certificates, signatures }: SigningCandidates): Generator<SignaturePair> {
  for (const one of certificates) for (const signature of signatures) yield { certificates: one, signature };
}
