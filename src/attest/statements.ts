// What is signed in an attestation, byte for byte. Two statements, each a list of fields in this order, each field
// its length in 32 bits (big endian) and then its bytes, so that no two lists have the same encoding:
//
//   what the TPM's quote answers (its qualifying data is the SHA-256 of this)
//     1  "mos attestation v1"       which statement this is
//     2  nonce                      16 to 64 bytes, the verifier's
//     3  SHA-256 of install.json    32 bytes; zeros when nothing was applied
//     4  number of the generation   8 bytes, big endian; zero when nothing was applied
//     5  Name of the attestation key   2 bytes of TPM_ALG_ID and a digest (TPM 2.0 Part 1, section 16)
//
//   what the device's own key signs (RSASSA-PKCS1-v1_5 or ECDSA, SHA-256 of this)
//     1  "mos attestation key v1"
//     2  Name of the attestation key
//     3  the qualifying data of the quote   32 bytes
//
// The second binds the key in the TPM to the device's certificate, and because field 3 has the nonce in it, it is
// made anew each time: whoever shows it has the device's key now, which the TPM gives to an approved start only.
import { createHash } from "node:crypto";
import { encode } from "../tpm/buffer.ts";
import type { Name } from "../tpm/names.ts";
import type { Nonce } from "./nonce.ts";

function encodeFields(fields: readonly Uint8Array[]): Uint8Array {
  return encode((writer) => {
    for (const field of fields) writer.u32(field.length).raw(field);
  });
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

/** What was applied, as the quote has it. */
export interface QuotedGeneration {
  /** 1 to 999 999 999. */
  readonly number: number;
  /** install.json. */
  readonly manifest: Uint8Array;
}

/** The first statement (see the head of this file). @param generation undefined when nothing was applied */
export function quotedStatement(
  nonce: Nonce,
  generation: QuotedGeneration | undefined,
  key: Name,
): Uint8Array {
  return encodeFields([
    Buffer.from("mos attestation v1"),
    nonce,
    generation === undefined ? new Uint8Array(32) : sha256(generation.manifest),
    encode((writer) => writer.u64(BigInt(generation?.number ?? 0))),
    key,
  ]);
}

/** SHA-256 of {@link quotedStatement}: 32 bytes, the qualifying data of the quote. */
export function qualifyingData(
  nonce: Nonce,
  generation: QuotedGeneration | undefined,
  key: Name,
): Uint8Array {
  return sha256(quotedStatement(nonce, generation, key));
}

/** The second statement (see the head of this file). */
export function bindingStatement(key: Name, qualifying: Uint8Array): Uint8Array {
  return encodeFields([Buffer.from("mos attestation key v1"), key, qualifying]);
}
