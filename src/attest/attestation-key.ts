// The key that signs quotes, as the verifier sees it: only a key that signs nothing but the TPM's own statements proves
// anything, because everything else that it signs could be made to look like a quote.
import type { KeyObject } from "node:crypto";
import { objectAttributes } from "../tpm/constants.ts";
import { type Name, nameOfPublic } from "../tpm/names.ts";
import { decodeSizedPublic, type Public } from "../tpm/public.ts";
import { keyObjectOf } from "../tpm/public-key.ts";
import { refusal, within } from "./refusal.ts";

export interface AttestationKey {
  readonly name: Name;
  readonly key: KeyObject;
}

/** TPMA_OBJECT (TPM 2.0 Part 2, section 8.3): what an attestation key has to be. */
const needed = ["restricted", "sign", "fixedTpm", "fixedParent", "sensitiveDataOrigin"] as const;

/** P-256 and ECDSA with SHA-256, as trust provision makes it; others are refused. */
function keyObject(area: Public): KeyObject {
  const isKnown =
    area.type === "ecc" &&
    area.curve === "p256" &&
    area.scheme?.scheme === "ecdsa" &&
    area.scheme.hash === "sha256" &&
    area.nameHash === "sha256";
  if (!isKnown) throw refusal("attestation-key", "its key is not of P-256 with ECDSA and SHA-256");
  return keyObjectOf(area);
}

/**
 * Reads the key and checks what it may be used for.
 * @param bytes TPM2B_PUBLIC
 * @throws MosError `attestation-refused`
 */
export function readAttestationKey(bytes: Uint8Array): AttestationKey {
  const area = within("attestation-key", () => decodeSizedPublic(bytes));
  const missing = needed.filter((name) => (area.attributes & objectAttributes[name]) === 0);
  if (missing.length > 0) {
    throw refusal(
      "attestation-key",
      `its key is not ${missing.join(", not ")}: it could have signed anything`,
    );
  }
  if ((area.attributes & objectAttributes.decrypt) !== 0) {
    throw refusal("attestation-key", "its key is also for decryption");
  }
  return { name: nameOfPublic(area), key: within("attestation-key", () => keyObject(area)) };
}
