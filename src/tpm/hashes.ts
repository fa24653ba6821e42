// The hash algorithms that mos uses with a TPM, by one name for the TPM, for node:crypto and for people.
import { createHash } from "node:crypto";
import { algorithms } from "./constants.ts";

export type HashName = "sha1" | "sha256" | "sha384" | "sha512";

/** Size of a digest, bytes. */
export const digestSizes = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 } as const;

const byNumber: ReadonlyMap<number, HashName> = new Map([
  [algorithms.sha1, "sha1"],
  [algorithms.sha256, "sha256"],
  [algorithms.sha384, "sha384"],
  [algorithms.sha512, "sha512"],
]);

/** The hash of a TPM_ALG_ID. @throws SyntaxError when it is none that mos knows */
export function hashOfNumber(number: number): HashName {
  const name = byNumber.get(number);
  if (name === undefined) throw new SyntaxError(`unknown hash algorithm 0x${number.toString(16)}`);
  return name;
}

/** The digest of several pieces, one after the other. */
export function digest(name: HashName, ...pieces: readonly Uint8Array[]): Uint8Array {
  const hash = createHash(name);
  for (const piece of pieces) hash.update(piece);
  return new Uint8Array(hash.digest());
}
