// Who signed this manifest, and who vouches for the signers? The steps, in their order, are the specification:
// read the certificates, follow the chain to a trust anchor, check the signature over the manifest's bytes; and
// count the keys that did.
import { MosError } from "../errors/mos-error.ts";
import type { AnchorSet } from "./anchors.ts";
import { type Certificate, keyIdOf, readCertificates } from "./certificate.ts";
import { type Anchor, type Chain, type ValidityTime, verifyChain } from "./chain.ts";
import { type SignatureAlgorithm, verifySignature } from "./signature.ts";

/** What manifests are held against at one moment: the policy's anchors, after all handovers and revocations. */
export interface TrustRoot extends AnchorSet {
  /** SHA-256 (hex) of certificates and of public keys. */
  readonly revoked: ReadonlySet<string>;
  /** How many different keys have to have signed. */
  readonly threshold: number;
}

/** One signature and the certificates that came for it. */
export interface SignaturePair {
  /** The raw signature. */
  readonly signature: Uint8Array;
  /** PEM: the signing certificate, then intermediates in any order. */
  readonly certificates: Uint8Array;
}

/** What is known of a manifest whose signature holds. */
export interface ManifestSigner {
  /** Which anchor vouched for the signer, and where that anchor is from. */
  readonly anchor: { readonly source: string; readonly subject: string; readonly fingerprint: string };
  /** Subjects of the chain, signer first, anchor last. */
  readonly chain: readonly string[];
  readonly subject: string;
  readonly commonName: string | undefined;
  /** SHA-256 of the signing certificate, hex. */
  readonly fingerprint: string;
  /** SHA-256 of the signer's public key, hex: several signatures of one key count as one. */
  readonly keyId: string;
  readonly algorithm: SignatureAlgorithm;
  /** Of the signing certificate. The newest one seen is a floor for the clock (clock.ts). */
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A pair that verified, and whose it is. */
export interface AcceptedPair {
  readonly pair: SignaturePair;
  readonly signer: ManifestSigner;
}

function describe(chain: Chain, algorithm: SignatureAlgorithm): ManifestSigner {
  const { leaf, anchor, path } = chain;
  return {
    anchor: {
      source: anchor.source,
      subject: anchor.certificate.subject.text,
      fingerprint: anchor.certificate.fingerprint,
    },
    chain: path.map((certificate) => certificate.subject.text),
    subject: leaf.subject.text,
    commonName: leaf.subject.commonName,
    fingerprint: leaf.fingerprint,
    keyId: keyIdOf(leaf),
    algorithm,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
  };
}

/** CA certificates that came with a manifest and whose key is pinned: an anchor whose text was not stored. */
function pinnedAnchors(root: TrustRoot, certificates: readonly Certificate[]): Anchor[] {
  return root.pins.flatMap(({ keyId, source }) =>
    certificates
      .filter((certificate) => certificate.permissions.isCa && keyIdOf(certificate) === keyId)
      .map((certificate) => ({ certificate, source })),
  );
}

/**
 * Verifies one signature of a manifest.
 * @param manifest install.json, exactly as it was signed
 * @throws MosError `certificate-malformed`, `algorithm-refused`, `chain-untrusted`, `chain-not-ca`,
 * `chain-constraint`, `certificate-revoked`, `certificate-expired`, `certificate-not-yet-valid`, `signature-invalid`
 */
export function verifySignedManifest(
  manifest: Uint8Array,
  pair: SignaturePair,
  root: TrustRoot,
  time: ValidityTime,
): ManifestSigner {
  const [leaf, ...intermediates] = readCertificates(pair.certificates);
  const anchors = [...root.certificates, ...pinnedAnchors(root, intermediates)];
  const chain = verifyChain({ leaf, intermediates, anchors, revoked: root.revoked, time });
  const algorithm = verifySignature(manifest, pair.signature, leaf.publicKey);
  return describe(chain, algorithm);
}

/** How far a pair came before it was refused: the error of the one that came furthest tells most. */
function progressOf({ code }: MosError): number {
  if (code === "signature-invalid") return 2;
  return code === "certificate-malformed" ? 0 : 1;
}

function refusal(refusals: readonly MosError[]): MosError {
  const sorted = refusals.toSorted((a, b) => progressOf(b) - progressOf(a));
  const [worst, ...others] = sorted;
  if (worst === undefined) return new MosError("signature-missing", "the manifest has no signature");
  if (others.length === 0) return worst;
  return new MosError(worst.code, worst.message, {
    ...(worst.about === undefined ? {} : { about: worst.about }),
    hint: worst.hint,
    problems: sorted.map(({ code, message }) => `${code}: ${message}`),
  });
}

/**
 * Verifies a manifest: as many different keys as the threshold says have signed it. Pairs that do not verify are
 * passed over, because anybody can attach some.
 * @returns one pair of each key that signed, in the order in which they came
 * @throws MosError `signatures-too-few`; when no pair verifies the refusal of the one that came furthest, with the
 * others as its problems
 */
export function verifyManifest(
  manifest: Uint8Array,
  pairs: Iterable<SignaturePair>,
  root: TrustRoot,
  time: ValidityTime,
): readonly [AcceptedPair, ...AcceptedPair[]] {
  const accepted = new Map<string, AcceptedPair>();
  const refusals: MosError[] = [];
  for (const pair of pairs) {
    try {
      const signer = verifySignedManifest(manifest, pair, root, time);
      if (!accepted.has(signer.keyId)) accepted.set(signer.keyId, { pair, signer });
    } catch (error) {
      if (!(error instanceof MosError)) throw error;
      refusals.push(error);
    }
  }
  const [first, ...others] = accepted.values();
  if (first === undefined) throw refusal(refusals);
  if (accepted.size < root.threshold) {
    throw new MosError(
      "signatures-too-few",
      `cannot accept the manifest: ${accepted.size} of the ${root.threshold} keys that it needs have signed it`,
      {
        about: [...accepted.values()].map(({ signer }) => signer.subject).join(", "),
        problems: refusals.map(({ code, message }) => `${code}: ${message}`),
      },
    );
  }
  return [first, ...others];
}
