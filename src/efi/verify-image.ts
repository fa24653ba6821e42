// Did the holder of a key that we trust sign exactly this EFI program? In this order: recompute the digest of the
// file, compare it with the one that was signed, check the signature, follow its certificate to the trusted one.
import { MosError } from "../errors/mos-error.ts";
import { isSignedBy } from "../trust/algorithms.ts";
import { type Certificate, readCertificate } from "../trust/certificate.ts";
import { verifyChain } from "../trust/chain.ts";
import {
  type AuthenticodeSignature,
  authenticodeDigest,
  decodeAuthenticode,
  signaturesOf,
} from "./authenticode.ts";
import type { PeImage } from "./pe.ts";

/** A signature that holds. */
export interface ImageSigner {
  /** The signer's certificate. */
  readonly certificate: Certificate;
  /** Which of the trusted certificates vouches: the signer's own, or one above it. */
  readonly anchor: Certificate;
  /** Authenticode SHA-256 digest of the image. */
  readonly digest: Uint8Array;
}

function invalid(why: string): MosError {
  return new MosError("efi-signature-invalid", `cannot accept the signature of this EFI program: ${why}`);
}

/** Certificates that came with a signature only help to find the way; one that cannot be read helps nobody. */
function readBag(certificates: readonly Uint8Array[]): readonly Certificate[] {
  return certificates.flatMap((der) => {
    try {
      return [readCertificate(der)];
    } catch (error) {
      if (error instanceof MosError) return [];
      throw error;
    }
  });
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/**
 * Whose certificate made the signature, whoever that may be.
 * @throws MosError `efi-signature-invalid`
 */
export function signerOf(
  signature: AuthenticodeSignature,
  digest: Uint8Array,
): { readonly certificate: Certificate; readonly bag: readonly Certificate[] } {
  if (!same(signature.imageDigest, digest)) {
    throw invalid("it was made over another program, or this one was altered after it was signed");
  }
  const bag = readBag(signature.certificates);
  const { issuer, serial } = signature.signer;
  // Authenticode: the signer's certificate is one of those that came along. The firmware looks nowhere else.
  const named = bag.filter(
    (candidate) => same(candidate.issuer.raw, issuer) && same(candidate.serial, serial),
  );
  if (named.length === 0) throw invalid("the certificate of its signer is not there");
  const certificate = named.find(({ publicKey }) => {
    return publicKey.kind === "rsa" && isSignedBy(publicKey, "sha256", signature.signed, signature.signature);
  });
  if (certificate === undefined) throw invalid("it was not made by the key of its certificate");
  return { certificate, bag };
}

/** The firmware's rule: the certificate itself is trusted, or one that it leads to. Dates do not count there. */
function anchorFor(
  certificate: Certificate,
  bag: readonly Certificate[],
  trusted: readonly Certificate[],
): Certificate {
  const itself = trusted.find(({ fingerprint }) => fingerprint === certificate.fingerprint);
  if (itself !== undefined) return itself;
  try {
    const anchors = trusted.map((one) => ({ certificate: one, source: one.subject.text }));
    return verifyChain({
      leaf: certificate,
      intermediates: bag,
      anchors,
      revoked: new Set(),
      time: { kind: "ignore" },
    }).anchor.certificate;
  } catch (error) {
    if (!(error instanceof MosError)) throw error;
    throw invalid(`it is of ${certificate.subject.text}, which is not trusted: ${error.message}`);
  }
}

function asProblem(error: unknown): MosError {
  if (error instanceof MosError) return error;
  if (error instanceof SyntaxError) return invalid(error.message);
  throw error;
}

/**
 * Finds a signature of the image that one of the certificates vouches for.
 * @throws MosError `efi-image-malformed`, `efi-signature-missing`, `efi-signature-invalid`, `algorithm-refused`
 */
export function verifyImage(image: PeImage, trusted: readonly Certificate[]): ImageSigner {
  const digest = authenticodeDigest(image);
  const problems: MosError[] = [];
  for (const pkcs7 of signaturesOf(image)) {
    try {
      const { certificate, bag } = signerOf(decodeAuthenticode(pkcs7), digest);
      return { certificate, anchor: anchorFor(certificate, bag, trusted), digest };
    } catch (error) {
      problems.push(asProblem(error));
    }
  }
  const [first, ...more] = problems;
  if (first === undefined) {
    throw new MosError("efi-signature-missing", "cannot trust this EFI program: it has no signature", {
      about: image.about,
    });
  }
  const all = more.length === 0 ? [] : problems.map(({ message }) => message);
  throw new MosError(first.code, first.message, { about: image.about, problems: all, cause: first });
}
