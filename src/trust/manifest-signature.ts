// Who signed this manifest, and who vouches for the signer? The steps, in their order, are the specification:
// read the certificates, follow the chain to a trust anchor, check the signature over the manifest's bytes.
import { createHash } from "node:crypto";
import { readCertificates } from "./certificate.ts";
import { type Anchor, type Chain, type ValidityTime, verifyChain } from "./chain.ts";
import { type SignatureAlgorithm, verifySignature } from "./signature.ts";

interface SignedManifest {
  /** install.json, exactly as it was signed. */
  readonly manifest: Uint8Array;
  /** The raw signature. */
  readonly signature: Uint8Array;
  /** PEM: the signing certificate, then intermediates in any order. */
  readonly certificates: Uint8Array;
  readonly anchors: readonly Anchor[];
  readonly time: ValidityTime;
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
    keyId: createHash("sha256").update(leaf.publicKey.spki).digest("hex"),
    algorithm,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
  };
}

/**
 * Verifies one signature of a manifest.
 * @throws MosError `certificate-malformed`, `algorithm-refused`, `chain-untrusted`, `chain-not-ca`,
 * `chain-constraint`, `certificate-expired`, `certificate-not-yet-valid`, `signature-invalid`
 */
export function verifySignedManifest(input: SignedManifest): ManifestSigner {
  const [leaf, ...intermediates] = readCertificates(input.certificates);
  const chain = verifyChain({ leaf, intermediates, anchors: input.anchors, time: input.time });
  const algorithm = verifySignature(input.manifest, input.signature, leaf.publicKey);
  return describe(chain, algorithm);
}
