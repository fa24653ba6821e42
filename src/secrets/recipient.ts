// A device as a publisher knows it: the public key of its TPM, from the file that `mosctl secret-key` printed.
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { keyOfPoint, type Point, pointOfCoordinates } from "./point.ts";

/** SHA-256 of the public key's DER (SubjectPublicKeyInfo), 64 lower-case hex digits. */
export type KeyId = string & { readonly brand: "KeyId" };

export function keyIdOf(point: Point): KeyId {
  const der = keyOfPoint(point).export({ type: "spki", format: "der" });
  return createHash("sha256").update(der).digest("hex") as KeyId;
}

/** A public key as {@link readRecipient} reads it. */
export function recipientPem(point: Point): string {
  return keyOfPoint(point).export({ type: "spki", format: "pem" }).toString();
}

function parse(pem: string): KeyObject | undefined {
  // Not what createPublicKey() would also take: certificates, and private keys that should be nowhere near.
  if (!/^-----BEGIN PUBLIC KEY-----$/m.test(pem)) return undefined;
  try {
    return createPublicKey(pem);
  } catch {
    return undefined;
  }
}

/**
 * Reads a device's public key.
 * @param about names it in the error
 * @throws MosError `key-invalid`
 */
export function readRecipient(pem: string, about: string): Point {
  const { crv, x, y } = parse(pem)?.export({ format: "jwk" }) ?? {};
  if (crv !== "P-256" || x === undefined || y === undefined) {
    throw new MosError("key-invalid", "cannot encrypt to this device: its key is not a public key on P-256", {
      about,
      hint: "mosctl secret-key prints the right one, on the device.",
    });
  }
  return pointOfCoordinates(Buffer.from(x, "base64url"), Buffer.from(y, "base64url"));
}
