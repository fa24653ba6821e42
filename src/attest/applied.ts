// What was applied, as the attestation has it: install.json and its signatures, held against what the verifier expects.
import { parseInstallManifest } from "../manifest/install-json.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import type { Certificate } from "../trust/certificate.ts";
import { type ManifestSigner, verifyManifest } from "../trust/manifest-signature.ts";
import { checkProduct, type DeviceProduct } from "../trust/product.ts";
import { unnumbered } from "../trust/release.ts";
import type { Attestation } from "./document.ts";
import { refusal, within } from "./refusal.ts";

export interface AppliedExpectations {
  readonly manifestDigest?: Digest | undefined;
  /** CAs that may vouch for the manifest; when absent its signatures are not looked at. */
  readonly manifestCas?: readonly Certificate[] | undefined;
  readonly minEpoch?: number | undefined;
}

export interface Applied {
  readonly number: number;
  readonly manifestDigest: Digest;
  readonly product: string;
  readonly serial: number;
  readonly epoch: number;
  /** Whose keys signed the manifest, and who vouches for them; undefined when that was not checked. */
  readonly signers: readonly ManifestSigner[] | undefined;
}

type Generation = NonNullable<Attestation["generation"]>;

/** At least one signer who may sign for this product. Dates do not count: what is installed does not expire. */
function verifySigners(
  { manifest, signatures }: Generation,
  cas: readonly Certificate[],
  { product }: InstallManifest,
  device: DeviceProduct,
): readonly ManifestSigner[] {
  const certificates = cas.map((certificate) => ({ certificate, source: "--manifest-ca" }));
  const root = { certificates, pins: [], revoked: new Set<string>(), threshold: 1 };
  const accepted = verifyManifest(manifest, signatures, root, { kind: "ignore" });
  let problem: unknown;
  const ofProduct = accepted.filter(({ signer }) => {
    try {
      checkProduct({ manifest: product, signerName: signer.commonName, device, running: undefined });
      return true;
    } catch (error) {
      problem ??= error;
      return false;
    }
  });
  if (ofProduct.length === 0) throw problem;
  return ofProduct.map(({ signer }) => signer);
}

/**
 * Reads what was applied, and checks what is expected of it.
 * @returns undefined when nothing was applied, and nothing is expected to be
 * @throws MosError `attestation-refused`
 */
export function verifyApplied(
  generation: Generation | undefined,
  expected: AppliedExpectations,
  device: DeviceProduct,
): Applied | undefined {
  const { manifestDigest, manifestCas, minEpoch } = expected;
  if (generation === undefined) {
    if (manifestDigest === undefined && manifestCas === undefined && minEpoch === undefined) return undefined;
    throw refusal("generation", "nothing was applied on the device");
  }
  const digest = digestOf(generation.manifest);
  if (manifestDigest !== undefined && digest !== manifestDigest) {
    throw refusal("manifest-digest", `the manifest ${digest} is applied, not ${manifestDigest}`);
  }
  const manifest = within("generation", () => parseInstallManifest(generation.manifest));
  const signers =
    manifestCas === undefined
      ? undefined
      : within("manifest-signature", () => verifySigners(generation, manifestCas, manifest, device));
  const { serial, epoch } = manifest.release ?? unnumbered;
  if (minEpoch !== undefined && signers === undefined && manifestDigest === undefined) {
    throw refusal("epoch", "nobody vouches for the manifest's epoch (--manifest-ca, --manifest-digest)");
  }
  if (minEpoch !== undefined && epoch < minEpoch) {
    throw refusal("epoch", `a manifest of epoch ${epoch} is applied, and it has to be ${minEpoch} or later`);
  }
  const { number } = generation;
  return { number, manifestDigest: digest, product: manifest.product, serial, epoch, signers };
}
