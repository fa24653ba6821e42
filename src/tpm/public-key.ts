// Public keys between the TPM's form and that of PEM files and node:crypto.
import { createPublicKey, type KeyObject } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { objectAttributes as attribute } from "./constants.ts";
import type { EccPublic, RsaPublic } from "./public.ts";

/**
 * The public area of a signing key from a PEM file, as `tpm2_loadexternal -u FILE` makes it; its Name is what
 * PolicyAuthorize holds. RSA of 2048 to 4096 bits, or P-256.
 * @throws MosError `key-invalid`
 */
export function publicFromPem(pem: string, about: string): RsaPublic | EccPublic {
  const common = {
    nameHash: "sha256",
    attributes: attribute.userWithAuth | attribute.sign | attribute.decrypt,
    authPolicy: new Uint8Array(0),
    symmetric: undefined,
    scheme: undefined,
  } as const;
  const key = readPem(pem, about);
  const { n, e, crv, x, y } = key.export({ format: "jwk" });
  if (n !== undefined && e !== undefined) {
    const modulus = Buffer.from(n, "base64url");
    const exponent = Number.parseInt(Buffer.from(e, "base64url").toString("hex"), 16);
    // The exponent is written out (1 00 01), not 0 for its default: the Names of the published keys are made so.
    if (modulus.length >= 256 && modulus.length <= 512 && exponent === 65537) {
      return { type: "rsa", ...common, bits: 8 * modulus.length, exponent, modulus };
    }
  }
  if (crv === "P-256" && x !== undefined && y !== undefined) {
    const point = { x: Buffer.from(x, "base64url"), y: Buffer.from(y, "base64url") };
    return { type: "ecc", ...common, curve: "p256", ...point };
  }
  throw new MosError("key-invalid", "cannot use a key in a TPM policy: it is neither RSA nor EC P-256", {
    about,
  });
}

function readPem(pem: string, about: string): KeyObject {
  try {
    return createPublicKey(pem);
  } catch (error) {
    throw new MosError("key-invalid", "cannot read a public key", { about, cause: error });
  }
}

/** The key of a public area, to check signatures with. @throws SyntaxError when it holds no usable key */
export function keyObjectOf(area: RsaPublic | EccPublic): KeyObject {
  try {
    return createPublicKey({ key: area.type === "rsa" ? rsaJwk(area) : eccJwk(area), format: "jwk" });
  } catch (error) {
    throw new SyntaxError("a public area without a usable key", { cause: error });
  }
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");

function rsaJwk({ modulus, exponent }: RsaPublic) {
  const e = Buffer.alloc(4);
  e.writeUInt32BE(exponent === 0 ? 65537 : exponent);
  return { kty: "RSA", n: base64(modulus), e: base64(e) };
}

const jwkCurves = { p256: "P-256", p384: "P-384", p521: "P-521" } as const;
const coordinateSizes = { p256: 32, p384: 48, p521: 66 } as const;

function eccJwk({ curve, x, y }: EccPublic) {
  const size = coordinateSizes[curve];
  return { kty: "EC", crv: jwkCurves[curve], x: base64(padded(x, size)), y: base64(padded(y, size)) };
}

/** A number in exactly `size` bytes, as curves have their coordinates. @throws RangeError */
export function padded(value: Uint8Array, size: number): Uint8Array {
  if (value.length > size) throw new RangeError("a coordinate that is larger than its curve");
  const result = new Uint8Array(size);
  result.set(value, size - value.length);
  return result;
}
