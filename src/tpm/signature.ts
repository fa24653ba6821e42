// Signatures as the TPM makes and checks them: TPMT_SIGNATURE (Part 2, section 11.3.4), and how other programs
// write the same (PKCS #1 bytes for RSA, DER for ECDSA).
import { type KeyObject, verify } from "node:crypto";
import { encode, type Reader, type Writer } from "./buffer.ts";
import { algorithms } from "./constants.ts";
import { type HashName, hashOfNumber } from "./hashes.ts";

export type TpmSignature =
  | { readonly scheme: "rsassa" | "rsapss"; readonly hash: HashName; readonly signature: Uint8Array }
  | { readonly scheme: "ecdsa"; readonly hash: HashName; readonly r: Uint8Array; readonly s: Uint8Array };

const maxRsa = 512;
const maxEcc = 66;

/** Appends a TPMT_SIGNATURE. */
export function writeSignature(writer: Writer, value: TpmSignature): void {
  writer.u16(algorithms[value.scheme]).u16(algorithms[value.hash]);
  if (value.scheme === "ecdsa") writer.sized(value.r).sized(value.s);
  else writer.sized(value.signature);
}

/** The bytes of a TPMT_SIGNATURE, which is what files of tpm2-tools hold. */
export function encodeSignature(value: TpmSignature): Uint8Array {
  return encode((writer) => writeSignature(writer, value));
}

/** Reads a TPMT_SIGNATURE. @throws SyntaxError */
export function readSignature(reader: Reader): TpmSignature {
  const scheme = reader.u16();
  const hash = hashOfNumber(reader.u16());
  switch (scheme) {
    case algorithms.rsassa:
      return { scheme: "rsassa", hash, signature: reader.sized(maxRsa) };
    case algorithms.rsapss:
      return { scheme: "rsapss", hash, signature: reader.sized(maxRsa) };
    case algorithms.ecdsa: {
      const r = reader.sized(maxEcc);
      return { scheme: "ecdsa", hash, r, s: reader.sized(maxEcc) };
    }
    default:
      throw new SyntaxError(`unknown signature scheme 0x${scheme.toString(16)}`);
  }
}

/**
 * A signature over SHA-256 that openssl, node:crypto or a file holds.
 * @param kind of the key: `rsa` takes the bytes of RSASSA-PKCS1-v1_5, `ecc` the DER of ECDSA (RFC 3279, 2.2.3)
 * @throws SyntaxError when the DER is malformed
 */
export function signatureOfBytes(kind: "rsa" | "ecc", bytes: Uint8Array): TpmSignature {
  if (kind === "rsa") return { scheme: "rsassa", hash: "sha256", signature: bytes };
  const integers = readDerIntegers(bytes);
  return { scheme: "ecdsa", hash: "sha256", r: integers[0], s: integers[1] };
}

/** SEQUENCE { r INTEGER, s INTEGER }, both positive and minimal, lengths below 128. */
function readDerIntegers(bytes: Uint8Array): readonly [Uint8Array, Uint8Array] {
  let at = 0;
  const next = (): number => {
    const byte = bytes[at++];
    if (byte === undefined) throw new SyntaxError("an ECDSA signature that is cut short");
    return byte;
  };
  const integer = (): Uint8Array => {
    if (next() !== 0x02) throw new SyntaxError("an ECDSA signature without two numbers");
    const length = next();
    const content = bytes.subarray(at, at + length);
    at += length;
    const [first = 0x80, second = 0] = content;
    if (content.length !== length || first >= 0x80 || (first === 0 && second < 0x80)) {
      throw new SyntaxError("an ECDSA signature with a malformed number");
    }
    return first === 0 ? content.subarray(1) : content;
  };
  if (next() !== 0x30 || next() !== bytes.length - 2) throw new SyntaxError("not an ECDSA signature");
  const r = integer();
  const s = integer();
  if (at !== bytes.length) throw new SyntaxError("an ECDSA signature with something after it");
  return [r, s];
}

/** Whether this is the signature of `key` over `data` (not over its digest). */
export function verifySignature(key: KeyObject, data: Uint8Array, value: TpmSignature): boolean {
  switch (value.scheme) {
    case "rsassa":
      return key.asymmetricKeyType === "rsa" && verify(value.hash, data, key, value.signature);
    case "rsapss":
      // No other scheme is made with the keys of src/tpm/templates.ts.
      return false;
    case "ecdsa": {
      if (key.asymmetricKeyType !== "ec") return false;
      const size = key.asymmetricKeyDetails?.namedCurve === "secp384r1" ? 48 : 32;
      if (value.r.length > size || value.s.length > size) return false;
      const both = new Uint8Array(2 * size);
      both.set(value.r, size - value.r.length);
      both.set(value.s, 2 * size - value.s.length);
      return verify(value.hash, data, { key, dsaEncoding: "ieee-p1363" }, both);
    }
  }
}
