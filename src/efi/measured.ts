// What firmware hashes to extend PCRs with (TCG PC Client Platform Firmware Profile 1.06). SHA-256: the bank that
// every TPM 2.0 has.
import { createHash } from "node:crypto";
import { encodeGuid, type Guid } from "./guid.ts";
import { u64le, utf16le } from "./little-endian.ts";

/** What UEFI_VARIABLE_DATA holds (profile section 10.2.6): a variable, or the entry of one that vouched. */
export interface VariableEvent {
  readonly name: string;
  readonly guid: Guid;
  readonly data: Uint8Array;
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

/**
 * UEFI_VARIABLE_DATA, whose digest is what a variable extends PCR 7 with:
 * GUID · u64 characters of the name · u64 bytes of the data · name in UTF-16LE, without an end · data.
 */
export function encodeVariableData({ name, guid, data }: VariableEvent): Uint8Array {
  return Buffer.concat([encodeGuid(guid), u64le(name.length), u64le(data.length), utf16le(name), data]);
}

/** The digest of EV_SEPARATOR: between what the firmware did and what others do (profile section 10.4.1). */
export const separatorDigest: Uint8Array = sha256(new Uint8Array(4));
