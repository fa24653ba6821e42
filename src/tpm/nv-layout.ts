// Where a provisioned device keeps what in its TPM. Indices up to 0x1500040 are the published system's layout
// version 3, byte for byte, so that either implementation reads what the other has written; those from 0x1500060 on
// are ours.
import { nvAttributes as nv, nvKinds } from "./constants.ts";
import { type NvIndex, nvIndex } from "./nv-public.ts";

export interface NvEntry {
  readonly index: NvIndex;
  readonly what: string;
  /** TPMA_NV, as the index is defined (TPM 2.0 Part 2 section 13.4). */
  readonly attributes: number;
  /** Whose approval reads it: the policies that this key signs (policies.ts). */
  readonly policyKey?: "tpmpol-admin" | "tpmpol-luks";
}

const ownerReadWrite = nv.ownerWrite | nv.ownerRead;

export const layoutVersion = "00000003";
/** Approved policies ask for it (PolicyNV); a higher one revokes them all. */
export const policyVersion = "0001";

/** The administrator's password of the TPM: 32 characters. */
export const passwordIndex = {
  index: nvIndex(0x1500001),
  what: "the administrator's password",
  attributes: ownerReadWrite | nv.policyRead,
  policyKey: "tpmpol-admin",
} as const satisfies NvEntry;

export const layoutVersionIndex = {
  index: nvIndex(0x1500002),
  what: "the layout's version",
  attributes: ownerReadWrite | nv.authRead,
} as const satisfies NvEntry;

export const policyVersionIndex = {
  index: nvIndex(0x1500020),
  what: "the policies' version",
  attributes: ownerReadWrite | nv.authRead,
} as const satisfies NvEntry;

export const deviceCertificateIndex = {
  index: nvIndex(0x1500021),
  what: "the device's certificate",
  attributes: ownerReadWrite | nv.policyRead,
  policyKey: "tpmpol-luks",
} as const satisfies NvEntry;

export const deviceKeyIndex = {
  index: nvIndex(0x1500022),
  what: "the device's private key",
  attributes: ownerReadWrite | nv.policyRead,
  policyKey: "tpmpol-luks",
} as const satisfies NvEntry;

/** Passphrase of the LUKS volume `sbf`: 40 characters. */
export const factoryPassphraseIndex = {
  index: nvIndex(0x1500030),
  what: "the factory volume's passphrase",
  attributes: ownerReadWrite | nv.policyRead,
  policyKey: "tpmpol-luks",
} as const satisfies NvEntry;

/** Passphrase of the system's own volumes: 40 characters, replaced by each installation. */
export const systemPassphraseIndex = {
  index: nvIndex(0x1500040),
  what: "the system's passphrase",
  attributes: ownerReadWrite | nv.policyRead | nv.policyWrite,
  policyKey: "tpmpol-luks",
} as const satisfies NvEntry;

/**
 * The release epoch, as a counter. A new counter begins above all that this TPM has ever had (Part 3 section 31.3),
 * so that deleting and defining it again does not go back either; {@link epochBaseIndex} holds where it began.
 */
export const epochIndex = {
  index: nvIndex(0x1500060),
  what: "the lowest epoch",
  attributes: ownerReadWrite | nv.authRead | nv.authWrite | nvKinds.counter | nv.noDa,
} as const satisfies NvEntry;

/** The counter's value at provisioning, 8 bytes; written once and locked for ever. */
export const epochBaseIndex = {
  index: nvIndex(0x1500061),
  what: "where the epoch's counter began",
  attributes: ownerReadWrite | nv.authRead | nv.writeDefine | nv.noDa,
} as const satisfies NvEntry;

/** The fold of all handovers and revocations (trust/handover.ts): it can be extended, never set. */
export const trustRecordIndex = {
  index: nvIndex(0x1500062),
  what: "the accepted handovers and revocations",
  attributes: ownerReadWrite | nv.authRead | nv.authWrite | nvKinds.extend | nv.noDa,
} as const satisfies NvEntry;

/** What `tpm-nv:0x01500063` of a policy names: a manifest CA, or the hash of its key; written once and locked. */
export const anchorIndex = {
  index: nvIndex(0x1500063),
  what: "the manifest CA",
  attributes: ownerReadWrite | nv.authRead | nv.writeDefine | nv.noDa,
} as const satisfies NvEntry;

/** Bytes of a counter, and of an index that is extended (SHA-256). */
export const counterSize = 8;
export const digestSize = 32;

/** Lengths of what is generated, in characters: the published system checks for exactly these. */
export const passwordLength = 32;
export const passphraseLength = 40;
