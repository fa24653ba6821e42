// Which keys and signature algorithms mos accepts, recognised by their exact DER (no parameter is ignored).
// Everything else is `algorithm-refused`: SHA-1, PSS, P-384, Ed25519, RSA outside 2048..8192 bits.
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { type DerElement, DerFields, readDer, tags } from "./der.ts";
import { derBitString, derInteger, derOid } from "./der-values.ts";

export type KeyKind = "rsa" | "p256";

/** A public key that was found acceptable. */
export interface PublicKey {
  readonly kind: KeyKind;
  /** Size of the modulus or of the field. */
  readonly bits: number;
  /** The SubjectPublicKeyInfo: what makes two keys the same key. */
  readonly spki: Uint8Array;
  readonly object: KeyObject;
}

/** How a certificate is signed: by a key of which kind, over which hash. */
export interface CertificateAlgorithm {
  readonly kind: KeyKind;
  readonly hash: "sha256" | "sha384" | "sha512";
}

const rsaBits = { min: 2048, max: 8192 };
/** OpenSSL bounds the exponent at 64 bits for large keys; a longer one only serves to waste time. */
const rsaExponent = { min: 65537n, max: (1n << 64n) - 1n };
/** Order n of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3). */
const p256Order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const oids = {
  rsaEncryption: "1.2.840.113549.1.1.1", // RFC 3279 section 2.3.1
  ecPublicKey: "1.2.840.10045.2.1", // RFC 5480 section 2.1.1
  prime256v1: "1.2.840.10045.3.1.7", // RFC 5480 section 2.1.1.1
} as const;

// RFC 4055 section 5 (RSA, parameters NULL) and RFC 5758 section 3.2 (ECDSA, no parameters).
const signatureOids: Readonly<Record<string, CertificateAlgorithm>> = {
  "1.2.840.113549.1.1.11": { kind: "rsa", hash: "sha256" },
  "1.2.840.113549.1.1.12": { kind: "rsa", hash: "sha384" },
  "1.2.840.113549.1.1.13": { kind: "rsa", hash: "sha512" },
  "1.2.840.10045.4.3.2": { kind: "p256", hash: "sha256" },
  "1.2.840.10045.4.3.3": { kind: "p256", hash: "sha384" },
};

function refused(what: string): MosError {
  return new MosError("algorithm-refused", `cannot accept a certificate: ${what}`);
}

/** AlgorithmIdentifier (RFC 5280 section 4.1.1.2): OID and the one optional parameter. */
function readIdentifier(element: DerElement): { oid: string; parameter: DerElement | undefined } {
  const fields = new DerFields(element, tags.sequence, "an algorithm");
  const oid = derOid(fields.take(tags.oid, "identifier"));
  const parameter = fields.any();
  fields.end();
  return { oid, parameter };
}

/**
 * The signature algorithm of a certificate.
 * @throws MosError `algorithm-refused`; SyntaxError when it is not an algorithm at all
 */
export function readCertificateAlgorithm(element: DerElement): CertificateAlgorithm {
  const { oid, parameter } = readIdentifier(element);
  const algorithm = Object.hasOwn(signatureOids, oid) ? signatureOids[oid] : undefined;
  if (algorithm === undefined) throw refused(`it is signed with the algorithm ${oid}`);
  const isNull = parameter?.tag === tags.null && parameter.content.length === 0;
  if (algorithm.kind === "rsa" ? !isNull : parameter !== undefined) {
    throw refused(`its signature algorithm ${oid} has parameters that do not belong there`);
  }
  return algorithm;
}

function readRsaKey(bytes: Uint8Array): number {
  const fields = new DerFields(readDer(bytes), tags.sequence, "an RSA key"); // RFC 8017 appendix A.1.1
  const modulus = derInteger(fields.take(tags.integer, "modulus"));
  const exponent = derInteger(fields.take(tags.integer, "exponent"));
  fields.end();
  const bits = modulus > 0n ? modulus.toString(2).length : 0;
  if (bits < rsaBits.min || bits > rsaBits.max) throw refused(`its RSA key has ${bits} bits`);
  if (
    exponent < rsaExponent.min ||
    exponent > rsaExponent.max ||
    exponent % 2n === 0n ||
    modulus % 2n === 0n
  ) {
    throw refused("its RSA key has an unusual exponent or modulus");
  }
  return bits;
}

function readEcKey(bytes: Uint8Array, curve: DerElement | undefined): number {
  const name = curve?.tag === tags.oid ? derOid(curve) : "explicit parameters";
  if (name !== oids.prime256v1) throw refused(`its EC key is on the curve ${name}`);
  // SEC 1 section 2.3.3: 04, x, y. That the point is on the curve is checked when the key is loaded.
  if (bytes.length !== 65 || bytes[0] !== 4) throw refused("its EC key is not an uncompressed point");
  return 256;
}

/**
 * A SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) that holds an acceptable key.
 * @throws MosError `algorithm-refused`; SyntaxError when it is malformed
 */
export function readPublicKey(element: DerElement): PublicKey {
  const fields = new DerFields(element, tags.sequence, "a public key");
  const { oid, parameter } = readIdentifier(fields.take(tags.sequence, "algorithm"));
  const { bytes, unused } = derBitString(fields.take(tags.bitString, "key"));
  fields.end();
  if (unused !== 0) throw new SyntaxError("a public key has a broken length");
  const isRsa = oid === oids.rsaEncryption;
  if (!isRsa && oid !== oids.ecPublicKey) throw refused(`its key is of the type ${oid}`);
  if (isRsa && (parameter?.tag !== tags.null || parameter.content.length !== 0)) {
    throw refused("its RSA key has parameters");
  }
  const bits = isRsa ? readRsaKey(bytes) : readEcKey(bytes, parameter);
  try {
    const object = createPublicKey({ key: Buffer.from(element.raw), format: "der", type: "spki" });
    return { kind: isRsa ? "rsa" : "p256", bits, spki: element.raw, object };
  } catch (error) {
    throw new SyntaxError("a public key is no key (for an EC key: the point is not on its curve)", {
      cause: error,
    });
  }
}

/** The numbers of an ECDSA signature in DER (RFC 3279 section 2.2.3); undefined when these bytes are none. */
export function readEcdsa(signature: Uint8Array): { readonly r: bigint; readonly s: bigint } | undefined {
  try {
    const fields = new DerFields(readDer(signature), tags.sequence, "an ECDSA signature");
    const r = derInteger(fields.take(tags.integer, "r"));
    const s = derInteger(fields.take(tags.integer, "s"));
    fields.end();
    return r < 0n || s < 0n ? undefined : { r, s };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Whether an ECDSA signature is canonical DER of r and s in 1..n-1 (SEC 1, 4.1.4). */
function isCanonicalEcdsa(signature: Uint8Array): boolean {
  const numbers = readEcdsa(signature);
  if (numbers === undefined) return false;
  const { r, s } = numbers;
  return r >= 1n && r < p256Order && s >= 1n && s < p256Order;
}

/**
 * Whether `signature` over `message` was made by the private half of `key`: RSASSA-PKCS1-v1_5 (RFC 8017 section
 * 8.2) with a signature as long as the modulus, or ECDSA with a canonical DER signature.
 */
export function isSignedBy(
  key: PublicKey,
  hash: CertificateAlgorithm["hash"],
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const wellFormed =
    key.kind === "rsa" ? signature.length === Math.ceil(key.bits / 8) : isCanonicalEcdsa(signature);
  return wellFormed && verify(hash, message, key.object, signature);
}
