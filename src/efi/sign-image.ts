// Signs an EFI program (Authenticode, RSA with SHA-256). Done here and not by sbsign, because that puts the time
// of signing into every signature: the same image, key and certificate give the same bytes here.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import type { Certificate } from "../trust/certificate.ts";
import { tags } from "../trust/der.ts";
import { derElement, derOidOf, derSetOf } from "../trust/der-writer.ts";
import { type SigningKey, signBytes } from "../trust/signature.ts";
import { authenticodeDigest, context, oids } from "./authenticode.ts";
import { u32le } from "./little-endian.ts";
import { type PeImage, parsePe } from "./pe.ts";
import { verifyImage } from "./verify-image.ts";
import { encodeWinCertificate } from "./win-certificate.ts";

const sequence = (...parts: readonly Uint8Array[]): Uint8Array => derElement(tags.sequence, ...parts);
const algorithm = (oid: string): Uint8Array => sequence(derOidOf(oid), derElement(tags.null));
const version1 = derElement(tags.integer, Uint8Array.of(1));

/** SpcPeImageData: no flags, and in place of a link the text that every signer writes there. */
function peImageData(): Uint8Array {
  const text = Buffer.from("<<<Obsolete>>>", "utf16le").swap16(); // BMPString is big-endian
  const link = derElement(context[0], derElement(context[2], derElement(0x80, text)));
  return sequence(derOidOf(oids.peImageData), sequence(derElement(tags.bitString, Uint8Array.of(0)), link));
}

function attribute(oid: string, value: Uint8Array): Uint8Array {
  return sequence(derOidOf(oid), derElement(tags.set, value));
}

/** SignedData over the digest of an image; the inverse of decodeAuthenticode in authenticode.ts. */
function encodeAuthenticode(imageDigest: Uint8Array, key: SigningKey, certificate: Certificate): Uint8Array {
  const indirectData = [
    peImageData(),
    sequence(algorithm(oids.sha256), derElement(tags.octetString, imageDigest)),
  ];
  const contentDigest = createHash("sha256").update(Buffer.concat(indirectData)).digest();
  const attributes = [
    attribute(oids.contentType, derOidOf(oids.indirectData)),
    attribute(oids.messageDigest, derElement(tags.octetString, contentDigest)),
  ];
  const signerInfo = sequence(
    version1,
    sequence(certificate.issuer.raw, derElement(tags.integer, certificate.serial)),
    algorithm(oids.sha256),
    derSetOf(attributes, context[0]),
    algorithm(oids.rsaEncryption),
    derElement(tags.octetString, signBytes(derSetOf(attributes), key)),
  );
  const signedData = sequence(
    version1,
    derElement(tags.set, algorithm(oids.sha256)),
    sequence(derOidOf(oids.indirectData), derElement(context[0], sequence(...indirectData))),
    derElement(context[0], certificate.der),
    derElement(tags.set, signerInfo),
  );
  return sequence(derOidOf(oids.signedData), derElement(context[0], signedData));
}

function isSignedAlready(image: PeImage, certificate: Certificate): boolean {
  if (image.certificates.size === 0) return false;
  try {
    return verifyImage(image, [certificate]).certificate.fingerprint === certificate.fingerprint;
  } catch (error) {
    if (error instanceof MosError) return false;
    throw error;
  }
}

/**
 * Adds a signature to an EFI image, behind those that it has. One that this certificate has signed already is
 * returned as it is. The result has been verified.
 * @param about names the image in errors
 * @throws MosError `efi-image-malformed`, `key-invalid` for a key that is not RSA
 */
export function signImage(
  bytes: Uint8Array,
  key: SigningKey,
  certificate: Certificate,
  about: string,
): Uint8Array {
  if (key.asymmetricKeyType !== "rsa") {
    throw new MosError(
      "key-invalid",
      "cannot sign an EFI program with a key that is not RSA: firmware knows no other",
      {
        about,
      },
    );
  }
  const image = parsePe(bytes, about);
  if (isSignedAlready(image, certificate)) return bytes;
  const body = Buffer.from(bytes.subarray(0, image.certificates.offset));
  const padding = new Uint8Array((8 - (body.length % 8)) % 8);
  const entry = encodeWinCertificate(encodeAuthenticode(authenticodeDigest(image), key, certificate));
  const table = Buffer.concat([bytes.subarray(image.certificates.offset), entry]);
  // Zero: not computed. No firmware looks at it, and what was there is not true any more.
  body.set(u32le(0), image.checksumAt);
  body.set(u32le(body.length + padding.length), image.certificateEntryAt);
  body.set(u32le(table.length), image.certificateEntryAt + 4);
  const signed = Buffer.concat([body, padding, table]);
  verifyImage(parsePe(signed, about), [certificate]);
  return signed;
}
