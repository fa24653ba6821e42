// The digest of PolicyPCR (TPM 2.0 Library, part 3, section 23.7), computed without a TPM: what a secret is bound
// to, or what a publisher signs so that a secret opens for it.
import { type Bank, bankFacts, hashOf } from "./bank.ts";
import { sha256 } from "./measured.ts";

/** TPM_CC_PolicyPCR. */
const policyPcrCommand = 0x0000017f;

function u16be(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function u32be(value: number): Uint8Array {
  return Buffer.concat([u16be(value >>> 16), u16be(value & 0xffff)]);
}

/**
 * The SHA-256 policy digest for one PCR with one value:
 * H(0^32 ‖ TPM_CC_PolicyPCR ‖ TPML_PCR_SELECTION ‖ H(value)).
 */
export function policyPcrDigest(bank: Bank, pcr: number, value: Uint8Array): Uint8Array {
  const select = new Uint8Array(3);
  select[pcr >> 3] = 1 << (pcr & 7);
  const selection = [u32be(1), u16be(bankFacts[bank].id), Uint8Array.of(select.length), select];
  return hashOf("sha256", new Uint8Array(32), u32be(policyPcrCommand), ...selection, sha256(value));
}
