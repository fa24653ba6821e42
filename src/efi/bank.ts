// The banks of PCRs: the same registers, once for each hash algorithm.
import { createHash } from "node:crypto";

export const banks = ["sha1", "sha256", "sha384", "sha512"] as const;
export type Bank = (typeof banks)[number];

/** TPM_ALG_ID (TCG Algorithm Registry), and the bytes of a digest. */
export const bankFacts: Readonly<Record<Bank, { readonly id: number; readonly size: number }>> = {
  sha1: { id: 0x0004, size: 20 },
  sha256: { id: 0x000b, size: 32 },
  sha384: { id: 0x000c, size: 48 },
  sha512: { id: 0x000d, size: 64 },
};

export function hashOf(bank: Bank, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash(bank);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** One extend: PCR := H(PCR ‖ digest). */
export function extendPcr(bank: Bank, pcr: Uint8Array, digest: Uint8Array): Uint8Array {
  return hashOf(bank, pcr, digest);
}

/** The value of a PCR that began as zeros and was extended with these digests in their order. */
export function foldPcr(bank: Bank, digests: readonly Uint8Array[]): Uint8Array {
  const start: Uint8Array = new Uint8Array(bankFacts[bank].size);
  return digests.reduce((pcr, digest) => extendPcr(bank, pcr, digest), start);
}
