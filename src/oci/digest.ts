// Content digests (OCI image specification 1.1, "Digests"). Only sha256 is accepted: one algorithm, no confusion.
import { createHash } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";

/** `sha256:` and 64 lower-case hex digits. */
export type Digest = string & { readonly __digest: true };

const pattern = /^sha256:[0-9a-f]{64}$/;

/** Whether text is a digest that mos accepts. */
export function isDigest(text: unknown): text is Digest {
  return typeof text === "string" && pattern.test(text);
}

/** The hex part of a digest: the name of its blob in an OCI layout. */
export function hexOf(digest: Digest): string {
  return digest.slice("sha256:".length);
}

/** A digest from the 64 hex digits that a hash gives. */
export function digestFromHex(hex: string): Digest {
  const digest = `sha256:${hex}`;
  if (!isDigest(digest)) throw new MosError("internal", `not a sha256 in hex: ${hex}`);
  return digest;
}

/** The digest of bytes in memory. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return digestFromHex(createHash("sha256").update(bytes).digest("hex"));
}
