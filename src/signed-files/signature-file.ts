// The bytes of the validator format: what is signed, and what a `.sig` file holds. Pure.
// reference: containers/validator 0.2.2, byte formats.
import { type KeyObject, sign, verify } from "node:crypto";
import { readEcdsa } from "../trust/algorithms.ts";
import { type ByteText, toBytes } from "./byte-path.ts";

/** "VALIDTR" and the format's version, 1. */
const magic = Buffer.from("VALIDTR\x01", "latin1");

/** As much as a signature of any key that OpenSSL knows needs, with room (bytes). */
export const maxSignatureFile = 64 * 1024;

/** A file that can be signed. */
export type SignedContent =
  | { readonly type: "regular"; readonly sha512: Uint8Array }
  | { readonly type: "symlink"; readonly target: ByteText };

/** What is signed: type, name, NUL, and the digest or the link's target. Mode, owner and time are not part of it. */
export function blobOf(name: ByteText, content: SignedContent): Buffer {
  const isLink = content.type === "symlink";
  return Buffer.concat([
    Buffer.of(isLink ? 1 : 0),
    toBytes(name),
    Buffer.of(0),
    isLink ? toBytes(content.target) : content.sha512,
  ]);
}

/** The content of a `.sig` file. Ed25519 (RFC 8032), without a hash before it; other keys as OpenSSL signs with them. */
export function makeSignature(blob: Uint8Array, key: KeyObject): Buffer {
  return Buffer.concat([magic, sign(null, blob, key)]);
}

/** Whether a signature holds, or why not, in validator's words; undefined where it says nothing more. */
export type Verdict =
  | { readonly isValid: true; readonly key: KeyObject }
  | { readonly isValid: false; readonly detail: string | undefined };

/**
 * Checks a `.sig` file against every key in turn; the file does not say which one made it.
 * @param onlyEd25519 pass over keys of other kinds; without it, one for ECDSA ends the search with an error when the
 * signature is not one of its kind, as it does in validator
 */
export function checkSignature(
  file: Uint8Array,
  blob: Uint8Array,
  keys: readonly KeyObject[],
  onlyEd25519: boolean,
): Verdict {
  if (file.length < magic.length || !magic.equals(file.subarray(0, magic.length))) {
    return { isValid: false, detail: "Invalid signature" };
  }
  const signature = file.subarray(magic.length);
  for (const key of keys) {
    if (onlyEd25519 && key.asymmetricKeyType !== "ed25519") continue;
    if (verify(null, blob, key, signature)) return { isValid: true, key };
    if (key.asymmetricKeyType === "ec" && readEcdsa(signature) === undefined) {
      return { isValid: false, detail: "Error validating digest" };
    }
  }
  return { isValid: false, detail: undefined };
}
