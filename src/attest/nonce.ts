// The verifier's question: random bytes that it made and nobody else can have known, so that the answer is fresh.
import { randomBytes } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";

/** 16 to 64 bytes. */
export type Nonce = Uint8Array & { readonly __nonce: true };

/** Below 16 bytes somebody could have asked the device for all of them before. */
const minLength = 16;
const maxLength = 64;

export function isNonce(bytes: Uint8Array): bytes is Nonce {
  return bytes.length >= minLength && bytes.length <= maxLength;
}

/** Reads a nonce, hex digits of either case. @throws MosError `usage` */
export function parseNonce(text: string): Nonce {
  const bytes = Buffer.from(text, "hex");
  if (2 * bytes.length === text.length && isNonce(bytes)) return bytes;
  throw new MosError("usage", `cannot use this nonce: it is not ${minLength} to ${maxLength} bytes in hex`, {
    about: text.slice(0, 2 * maxLength),
    hint: "trust attest nonce makes a fresh one.",
  });
}

/** A nonce that was never used before: 32 random bytes. */
export function freshNonce(): Nonce {
  return randomBytes(32) as Uint8Array as Nonce;
}
