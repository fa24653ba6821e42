// Authenticode ("Windows Authenticode Portable Executable Signature Format"): the digest of an image, and the
// PKCS#7 SignedData (RFC 2315) that holds it. Only SHA-256 and RSA: what UEFI firmware is sure to understand.
//
//   SignedData ::= version 1 · {digest algorithms} · contentInfo · [0] certificates · [1] crls? · {signerInfos}
//   contentInfo: SPC_INDIRECT_DATA · [0] SpcIndirectDataContent
//   SpcIndirectDataContent ::= (SPC_PE_IMAGE_DATA, flags and an obsolete link) · (digest algorithm, digest)
//   SignerInfo ::= version 1 · (issuer, serial) · digest algorithm · [0] attributes · algorithm · signature · [1]?
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { type DerElement, DerFields, readDer, tags } from "../trust/der.ts";
import { derInteger, derOctetString, derOid } from "../trust/der-values.ts";
import type { PeImage } from "./pe.ts";
import { decodeWinCertificates } from "./win-certificate.ts";

export const oids = {
  signedData: "1.2.840.113549.1.7.2", // RFC 2315 section 14
  contentType: "1.2.840.113549.1.9.3", // RFC 2985 section 5.3.1
  messageDigest: "1.2.840.113549.1.9.4", // RFC 2985 section 5.3.2
  indirectData: "1.3.6.1.4.1.311.2.1.4", // SPC_INDIRECT_DATA_OBJID
  peImageData: "1.3.6.1.4.1.311.2.1.15", // SPC_PE_IMAGE_DATAOBJ
  sha256: "2.16.840.1.101.3.4.2.1", // RFC 5754 section 2.2
  rsaEncryption: "1.2.840.113549.1.1.1", // RFC 3279 section 2.3.1
  sha256WithRsa: "1.2.840.113549.1.1.11", // RFC 4055 section 5
} as const;

/** Context-specific constructed tags of the structures above. */
export const context = { 0: 0xa0, 1: 0xa1, 2: 0xa2 } as const;

const digestSize = 32;
/** Time stamps are signatures within signatures: Microsoft's have 25 levels. */
const maxDepth = 32;

/**
 * What the digest says it is of: a PE image, or what old versions of pesign write by mistake (the OID of a purpose of
 * certificates). Firmware does not look; the digest decides.
 */
const contentTypes: readonly string[] = [oids.peImageData, "1.3.6.1.4.1.311.2.1.21"];

/** What one signature says, nothing of it checked but its form and that its parts belong together. */
export interface AuthenticodeSignature {
  /** The Authenticode SHA-256 digest of the image that was signed. */
  readonly imageDigest: Uint8Array;
  /** DER of the certificates that came with it. */
  readonly certificates: readonly Uint8Array[];
  /** Which certificate is the signer's: its issuer's name (DER), and its serial number (content octets). */
  readonly signer: { readonly issuer: Uint8Array; readonly serial: Uint8Array };
  /** What the signature is over: the signed attributes as a SET. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

/** The parts of a file that a signature covers: all but the checksum, its own place, and itself. */
export function authenticodeDigest(image: PeImage): Uint8Array {
  const { bytes, checksumAt, certificateEntryAt, certificates } = image;
  const hash = createHash("sha256");
  hash.update(bytes.subarray(0, checksumAt));
  hash.update(bytes.subarray(checksumAt + 4, certificateEntryAt));
  hash.update(bytes.subarray(certificateEntryAt + 8, certificates.offset));
  // An unsigned file is padded to a multiple of eight when it is signed.
  hash.update(new Uint8Array((8 - (certificates.offset % 8)) % 8));
  return hash.digest();
}

function checkAlgorithm(element: DerElement, allowed: readonly string[], what: string): void {
  const fields = new DerFields(element, tags.sequence, what);
  const oid = derOid(fields.take(tags.oid, "identifier"));
  const parameter = fields.optional(tags.null);
  fields.end();
  if (!allowed.includes(oid)) {
    throw new MosError("algorithm-refused", `cannot accept an EFI signature: ${what} is ${oid}`, {
      hint: "Sign with RSA and SHA-256.",
    });
  }
  if (parameter !== undefined && parameter.content.length !== 0)
    throw new SyntaxError(`${what} has parameters`);
}

/** The digest in SpcIndirectDataContent. */
function readIndirectData(element: DerElement): Uint8Array {
  const fields = new DerFields(element, tags.sequence, "SpcIndirectDataContent");
  const data = new DerFields(fields.take(tags.sequence, "data"), tags.sequence, "the data");
  if (!contentTypes.includes(derOid(data.take(tags.oid, "type"))))
    throw new SyntaxError("it is not for a PE image");
  const info = new DerFields(fields.take(tags.sequence, "digest"), tags.sequence, "the digest");
  fields.end();
  checkAlgorithm(info.take(tags.sequence, "algorithm"), [oids.sha256], "its digest algorithm");
  const digest = derOctetString(info.take(tags.octetString, "value"));
  info.end();
  if (digest.length !== digestSize) throw new SyntaxError(`its digest has ${digest.length} bytes`);
  return digest;
}

/** The one value of each attribute (RFC 2315 section 9.2); an attribute that is there twice has no meaning. */
function readAttributes(element: DerElement): ReadonlyMap<string, DerElement> {
  const values = new Map<string, DerElement>();
  for (const child of element.children ?? []) {
    const fields = new DerFields(child, tags.sequence, "an attribute");
    const oid = derOid(fields.take(tags.oid, "type"));
    const set = new DerFields(fields.take(tags.set, "values"), tags.set, "the values of an attribute");
    fields.end();
    const value = set.any();
    set.end();
    if (value === undefined || values.has(oid))
      throw new SyntaxError(`the attribute ${oid} has not one value`);
    values.set(oid, value);
  }
  return values;
}

/** The attributes must name what is signed; otherwise they could be those of something else. */
function checkAttributes(attributes: ReadonlyMap<string, DerElement>, content: DerElement): void {
  const type = attributes.get(oids.contentType);
  const digest = attributes.get(oids.messageDigest);
  if (type === undefined || digest === undefined) throw new SyntaxError("its attributes name no content");
  if (derOid(type) !== oids.indirectData)
    throw new SyntaxError("its attributes name another type of content");
  // RFC 2315 section 9.3: over the content octets, without identifier and length.
  const expected = createHash("sha256").update(content.content).digest();
  if (Buffer.compare(derOctetString(digest), expected) !== 0) {
    throw new SyntaxError("its attributes have the digest of another content");
  }
}

function readSignerInfo(
  element: DerElement,
  content: DerElement,
): Pick<AuthenticodeSignature, "signer" | "signed" | "signature"> {
  const fields = new DerFields(element, tags.sequence, "the signer");
  if (derInteger(fields.take(tags.integer, "version")) !== 1n)
    throw new SyntaxError("the signer is not version 1");
  const name = new DerFields(fields.take(tags.sequence, "name"), tags.sequence, "the signer's name");
  const issuer = name.take(tags.sequence, "issuer").raw;
  const serial = name.take(tags.integer, "serial number").content;
  name.end();
  checkAlgorithm(
    fields.take(tags.sequence, "digest algorithm"),
    [oids.sha256],
    "its signer's digest algorithm",
  );
  const attributes = fields.take(context[0], "attributes");
  checkAttributes(readAttributes(attributes), content);
  const algorithm = fields.take(tags.sequence, "algorithm");
  checkAlgorithm(algorithm, [oids.rsaEncryption, oids.sha256WithRsa], "its signature algorithm");
  const signature = derOctetString(fields.take(tags.octetString, "signature"));
  fields.optional(context[1]); // unsigned attributes: time stamps, which mean nothing here
  fields.end();
  // RFC 2315 section 9.3: signed as the SET that the implicit tag stands for.
  const signed = Buffer.from(attributes.raw);
  signed[0] = tags.set;
  return { signer: { issuer, serial }, signed, signature };
}

/** Without the zeros, less than eight, that some signers count as part of the PKCS#7. */
function withoutPadding(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  const least = Math.max(0, end - 7);
  // Only what is behind the length that the outermost element states can be padding.
  const stated = bytes[1] === 0x82 ? 4 + (bytes[2] ?? 0) * 256 + (bytes[3] ?? 0) : end;
  while (end > least && end > stated && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

/**
 * Reads one PKCS#7 of the attribute certificate table.
 * @throws SyntaxError when it is malformed or its parts do not belong together; MosError `algorithm-refused`
 */
export function decodeAuthenticode(pkcs7: Uint8Array): AuthenticodeSignature {
  const outer = new DerFields(readDer(withoutPadding(pkcs7), maxDepth), tags.sequence, "the signature");
  if (derOid(outer.take(tags.oid, "type")) !== oids.signedData)
    throw new SyntaxError("it is not PKCS#7 SignedData");
  const wrapped = new DerFields(outer.take(context[0], "content"), context[0], "the signature");
  outer.end();
  const fields = new DerFields(wrapped.take(tags.sequence, "content"), tags.sequence, "SignedData");
  wrapped.end();
  if (derInteger(fields.take(tags.integer, "version")) !== 1n)
    throw new SyntaxError("SignedData is not version 1");
  for (const algorithm of fields.take(tags.set, "digest algorithms").children ?? []) {
    checkAlgorithm(algorithm, [oids.sha256], "a digest algorithm");
  }
  const info = new DerFields(fields.take(tags.sequence, "content"), tags.sequence, "the content");
  if (derOid(info.take(tags.oid, "type")) !== oids.indirectData) throw new SyntaxError("it signs no program");
  const explicit = new DerFields(info.take(context[0], "data"), context[0], "the content");
  info.end();
  const content = explicit.take(tags.sequence, "data");
  explicit.end();
  const certificates = fields.optional(context[0])?.children ?? [];
  fields.optional(context[1]); // certificate revocation lists
  const signers = new DerFields(fields.take(tags.set, "signers"), tags.set, "the signers");
  fields.end();
  const signer = signers.take(tags.sequence, "signer");
  signers.end();
  return {
    imageDigest: readIndirectData(content),
    certificates: certificates.map(({ raw }) => raw),
    ...readSignerInfo(signer, content),
  };
}

/**
 * The PKCS#7 of every signature of an image; none for an unsigned one.
 * @throws MosError `efi-image-malformed` when the table of attribute certificates is damaged
 */
export function signaturesOf(image: PeImage): readonly Uint8Array[] {
  try {
    return decodeWinCertificates(image.bytes.subarray(image.certificates.offset));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError(
      "efi-image-malformed",
      `cannot read the signatures of this EFI program: ${error.message}`,
      {
        about: image.about,
        cause: error,
      },
    );
  }
}
