// One X.509 v3 certificate (RFC 5280 section 4.1), read strictly by mos itself: what decides about trust is
// taken from exactly the bytes that are signed. node:crypto only does the arithmetic of keys and signatures.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import {
  type CertificateAlgorithm,
  isSignedBy,
  type PublicKey,
  readCertificateAlgorithm,
  readPublicKey,
} from "./algorithms.ts";
import { type Permissions, readExtensions } from "./certificate-extensions.ts";
import { type DerElement, DerFields, readDer, tags } from "./der.ts";
import { derBitString, derInteger, derTime } from "./der-values.ts";
import { type DistinguishedName, readName } from "./distinguished-name.ts";
import { maxPemSize, splitPem } from "./pem.ts";

export interface Certificate {
  readonly der: Uint8Array;
  /** SHA-256 of the DER: 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** The content octets of the serial number: with the issuer's name, what a signature names its signer by. */
  readonly serial: Uint8Array;
  readonly subject: DistinguishedName;
  readonly issuer: DistinguishedName;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly publicKey: PublicKey;
  readonly permissions: Permissions;
  /** The part that is signed, how, and the signature over it. */
  readonly signed: {
    readonly bytes: Uint8Array;
    readonly algorithm: CertificateAlgorithm;
    readonly signature: Uint8Array;
  };
}

// Context-specific tags of TBSCertificate (RFC 5280 section 4.1).
const versionTag = 0xa0;
const issuerUniqueIdTag = 0x81;
const subjectUniqueIdTag = 0x82;
const extensionsTag = 0xa3;
const version3 = 2n;

function readValidity(element: DerElement): { notBefore: Date; notAfter: Date } {
  const fields = new DerFields(element, tags.sequence, "the validity");
  const [from, until] = [fields.any(), fields.any()];
  fields.end();
  if (from === undefined || until === undefined) throw new SyntaxError("the validity has no two dates");
  return { notBefore: derTime(from), notAfter: derTime(until) };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function decode(der: Uint8Array): Certificate {
  const outer = new DerFields(readDer(der), tags.sequence, "the certificate");
  const body = outer.take(tags.sequence, "body");
  const outerAlgorithm = outer.take(tags.sequence, "signature algorithm");
  const signature = derBitString(outer.take(tags.bitString, "signature"));
  outer.end();
  if (signature.unused !== 0) throw new SyntaxError("the signature has a broken length");

  const fields = new DerFields(body, tags.sequence, "the body");
  const version = new DerFields(fields.optional(versionTag), versionTag, "the version");
  if (derInteger(version.take(tags.integer, "number")) !== version3)
    throw new SyntaxError("it is not version 3");
  version.end();
  const serial = fields.take(tags.integer, "serial number");
  derInteger(serial);
  if (serial.content.length > 21) throw new SyntaxError("the serial number is too long");
  const innerAlgorithm = fields.take(tags.sequence, "signature algorithm");
  if (!sameBytes(innerAlgorithm.raw, outerAlgorithm.raw)) {
    throw new SyntaxError("its two signature algorithms differ"); // RFC 5280 section 4.1.1.2
  }
  const issuer = readName(fields.take(tags.sequence, "issuer"));
  const validity = readValidity(fields.take(tags.sequence, "validity"));
  const subject = readName(fields.take(tags.sequence, "subject"));
  const publicKeyElement = fields.take(tags.sequence, "public key");
  fields.optional(issuerUniqueIdTag);
  fields.optional(subjectUniqueIdTag);
  const wrapped = fields.optional(extensionsTag);
  fields.end();
  const extensions =
    wrapped === undefined ? undefined : new DerFields(wrapped, extensionsTag, "the extensions");
  const list = extensions?.take(tags.sequence, "list");
  extensions?.end();

  return {
    der,
    fingerprint: createHash("sha256").update(der).digest("hex"),
    serial: serial.content,
    subject,
    issuer,
    ...validity,
    publicKey: readPublicKey(publicKeyElement),
    permissions: readExtensions(list),
    signed: {
      bytes: body.raw,
      algorithm: readCertificateAlgorithm(innerAlgorithm),
      signature: signature.bytes,
    },
  };
}

/**
 * Reads one certificate from its DER.
 * @throws MosError `certificate-malformed`, `algorithm-refused`, `chain-constraint`
 */
export function readCertificate(der: Uint8Array): Certificate {
  try {
    if (der.length > maxPemSize) throw new SyntaxError(`it has more than ${maxPemSize} bytes`);
    return decode(der);
  } catch (error) {
    if (error instanceof MosError) throw error;
    const why = error instanceof Error ? error.message : "unknown";
    throw new MosError("certificate-malformed", `cannot read a certificate: ${why}`, { cause: error });
  }
}

/**
 * Reads every certificate of a PEM text, in its order; at least one.
 * @throws MosError `certificate-malformed`, `algorithm-refused`, `chain-constraint`
 */
export function readCertificates(pem: Uint8Array): readonly [Certificate, ...Certificate[]] {
  const [first, ...rest] = splitPem(pem);
  if (first === undefined)
    throw new MosError("certificate-malformed", "cannot read a certificate: there is none");
  return [readCertificate(first), ...rest.map(readCertificate)];
}

/**
 * SHA-256 of the public key (SubjectPublicKeyInfo), hex. A key may be in several certificates: it is the key that
 * signs, that an NV index pins, and that is revoked when it was stolen.
 */
export function keyIdOf({ publicKey }: Certificate): string {
  return createHash("sha256").update(publicKey.spki).digest("hex");
}

/** Whether `issuer` bears the name that `certificate` gives for its issuer; compared byte by byte. */
export function namesIssuer(certificate: Certificate, issuer: Certificate): boolean {
  return sameBytes(certificate.issuer.raw, issuer.subject.raw);
}

/** Whether the key of `issuer` made the signature of `certificate`. */
export function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  const { bytes, algorithm, signature } = certificate.signed;
  return (
    algorithm.kind === issuer.publicKey.kind && isSignedBy(issuer.publicKey, algorithm.hash, bytes, signature)
  );
}
