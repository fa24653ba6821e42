// What the TPM's response codes mean (TCG TPM 2.0 Library, Part 2, section 6.6 and tables 15 to 17).
import { MosError } from "../errors/mos-error.ts";

// Format 0 errors, from 0x100 on (TPM_RC_VER1).
const version1 = {
  TPM_RC_INITIALIZE: 0x100,
  TPM_RC_FAILURE: 0x101,
  TPM_RC_SEQUENCE: 0x103,
  TPM_RC_PRIVATE: 0x10b,
  TPM_RC_HMAC: 0x119,
  TPM_RC_DISABLED: 0x120,
  TPM_RC_EXCLUSIVE: 0x121,
  TPM_RC_AUTH_TYPE: 0x124,
  TPM_RC_AUTH_MISSING: 0x125,
  TPM_RC_POLICY: 0x126,
  TPM_RC_PCR: 0x127,
  TPM_RC_PCR_CHANGED: 0x128,
  TPM_RC_UPGRADE: 0x12d,
  TPM_RC_TOO_MANY_CONTEXTS: 0x12e,
  TPM_RC_AUTH_UNAVAILABLE: 0x12f,
  TPM_RC_REBOOT: 0x130,
  TPM_RC_UNBALANCED: 0x131,
  TPM_RC_COMMAND_SIZE: 0x142,
  TPM_RC_COMMAND_CODE: 0x143,
  TPM_RC_AUTHSIZE: 0x144,
  TPM_RC_AUTH_CONTEXT: 0x145,
  TPM_RC_NV_RANGE: 0x146,
  TPM_RC_NV_SIZE: 0x147,
  TPM_RC_NV_LOCKED: 0x148,
  TPM_RC_NV_AUTHORIZATION: 0x149,
  TPM_RC_NV_UNINITIALIZED: 0x14a,
  TPM_RC_NV_SPACE: 0x14b,
  TPM_RC_NV_DEFINED: 0x14c,
  TPM_RC_BAD_CONTEXT: 0x150,
  TPM_RC_CPHASH: 0x151,
  TPM_RC_PARENT: 0x152,
  TPM_RC_NEEDS_TEST: 0x153,
  TPM_RC_NO_RESULT: 0x154,
  TPM_RC_SENSITIVE: 0x155,
} as const;

// Format 1 errors (RC_FMT1, 0x080): without the bits that say of which handle, parameter or session.
const format1 = {
  TPM_RC_ASYMMETRIC: 0x081,
  TPM_RC_ATTRIBUTES: 0x082,
  TPM_RC_HASH: 0x083,
  TPM_RC_VALUE: 0x084,
  TPM_RC_HIERARCHY: 0x085,
  TPM_RC_KEY_SIZE: 0x087,
  TPM_RC_MGF: 0x088,
  TPM_RC_MODE: 0x089,
  TPM_RC_TYPE: 0x08a,
  TPM_RC_HANDLE: 0x08b,
  TPM_RC_KDF: 0x08c,
  TPM_RC_RANGE: 0x08d,
  TPM_RC_AUTH_FAIL: 0x08e,
  TPM_RC_NONCE: 0x08f,
  TPM_RC_PP: 0x090,
  TPM_RC_SCHEME: 0x092,
  TPM_RC_SIZE: 0x095,
  TPM_RC_SYMMETRIC: 0x096,
  TPM_RC_TAG: 0x097,
  TPM_RC_SELECTOR: 0x098,
  TPM_RC_INSUFFICIENT: 0x09a,
  TPM_RC_SIGNATURE: 0x09b,
  TPM_RC_KEY: 0x09c,
  TPM_RC_POLICY_FAIL: 0x09d,
  TPM_RC_INTEGRITY: 0x09f,
  TPM_RC_TICKET: 0x0a0,
  TPM_RC_RESERVED_BITS: 0x0a1,
  TPM_RC_BAD_AUTH: 0x0a2,
  TPM_RC_EXPIRED: 0x0a3,
  TPM_RC_POLICY_CC: 0x0a4,
  TPM_RC_BINDING: 0x0a5,
  TPM_RC_CURVE: 0x0a6,
  TPM_RC_ECC_POINT: 0x0a7,
} as const;

// Warnings, from 0x900 on (RC_WARN): the command may succeed later or after something else was done.
const warnings = {
  TPM_RC_CONTEXT_GAP: 0x901,
  TPM_RC_OBJECT_MEMORY: 0x902,
  TPM_RC_SESSION_MEMORY: 0x903,
  TPM_RC_MEMORY: 0x904,
  TPM_RC_SESSION_HANDLES: 0x905,
  TPM_RC_OBJECT_HANDLES: 0x906,
  TPM_RC_LOCALITY: 0x907,
  TPM_RC_YIELDED: 0x908,
  TPM_RC_CANCELED: 0x909,
  TPM_RC_TESTING: 0x90a,
  TPM_RC_REFERENCE_H0: 0x910,
  TPM_RC_REFERENCE_H1: 0x911,
  TPM_RC_REFERENCE_H2: 0x912,
  TPM_RC_REFERENCE_H3: 0x913,
  TPM_RC_REFERENCE_H4: 0x914,
  TPM_RC_REFERENCE_H5: 0x915,
  TPM_RC_REFERENCE_H6: 0x916,
  TPM_RC_REFERENCE_S0: 0x918,
  TPM_RC_REFERENCE_S1: 0x919,
  TPM_RC_REFERENCE_S2: 0x91a,
  TPM_RC_REFERENCE_S3: 0x91b,
  TPM_RC_REFERENCE_S4: 0x91c,
  TPM_RC_REFERENCE_S5: 0x91d,
  TPM_RC_REFERENCE_S6: 0x91e,
  TPM_RC_NV_RATE: 0x920,
  TPM_RC_LOCKOUT: 0x921,
  TPM_RC_RETRY: 0x922,
  TPM_RC_NV_UNAVAILABLE: 0x923,
} as const;

const special = { TPM_RC_BAD_TAG: 0x01e } as const;

const numbers = { ...special, ...version1, ...format1, ...warnings } as const;

/** The name of a response code in the specification. */
export type ResponseCodeName = keyof typeof numbers;

function isName(text: string): text is ResponseCodeName {
  return Object.hasOwn(numbers, text);
}

const names: ReadonlyMap<number, ResponseCodeName> = new Map(
  Object.entries(numbers).flatMap(([name, number]) => (isName(name) ? [[number, name] as const] : [])),
);

/** A response code taken apart. */
export interface ResponseCode {
  /** All 32 bits as they came. */
  readonly value: number;
  /** The code's name; undefined for a vendor's own and for what the specification does not name. */
  readonly name: ResponseCodeName | undefined;
  /** What the code is about, counted from 1, as in `session 1`; undefined where the code does not say. */
  readonly subject:
    | { readonly kind: "handle" | "parameter" | "session"; readonly number: number }
    | undefined;
  /** What answered in the TPM's place, such as the kernel's resource manager; undefined: the TPM itself. */
  readonly layer: number | undefined;
}

/** Takes a response code apart (Part 2, section 6.6.2, figures 25 to 27). */
export function decodeResponseCode(value: number): ResponseCode {
  const code = value & 0xffff;
  // TSS 2.0 Overview, section 4.1: bits 16 to 23 name the layer of software; the kernel's own is 11.
  const layer = (value >>> 16) & 0xff;
  const from = layer === 0 ? undefined : layer;
  if ((code & 0x080) === 0) return { value, name: names.get(code), subject: undefined, layer: from };
  const name = names.get(code & 0x0bf);
  if ((code & 0x040) !== 0) {
    return { value, name, subject: subject("parameter", (code >> 8) & 0xf), layer: from };
  }
  const kind = (code & 0x800) === 0 ? "handle" : "session";
  return { value, name, subject: subject(kind, (code >> 8) & 0x7), layer: from };
}

function subject(kind: "handle" | "parameter" | "session", number: number): ResponseCode["subject"] {
  return number === 0 ? undefined : { kind, number };
}

/** For a person: `TPM_RC_POLICY_FAIL (session 1)`, `0x5a5 (not in the specification)`. */
export function formatResponseCode({ value, name, subject, layer }: ResponseCode): string {
  const hex = `0x${value.toString(16)}`;
  const vendor = layer === undefined && (value & 0x480) === 0x400;
  const what = name ?? `${hex} (${vendor ? "the vendor's own" : "not in the specification"})`;
  const about = subject === undefined ? "" : ` (${subject.kind} ${subject.number})`;
  const by =
    layer === undefined ? "" : layer === 11 ? ", said the resource manager" : `, said layer ${layer}`;
  return `${what}${about}${by}`;
}

/** The TPM refused a command (`tpm-refused`), or is locked (`tpm-lockout`). */
export class TpmError extends MosError {
  readonly responseCode: ResponseCode;

  constructor(command: string, responseCode: ResponseCode) {
    const locked = responseCode.name === "TPM_RC_LOCKOUT";
    super(
      locked ? "tpm-lockout" : "tpm-refused",
      `cannot carry out ${command}: the TPM answered ${formatResponseCode(responseCode)}`,
      { about: command },
    );
    this.responseCode = responseCode;
  }
}

/** Whether an error is the TPM's answer of one of these names. */
export function isTpmAnswer(error: unknown, ...answers: readonly ResponseCodeName[]): error is TpmError {
  return (
    error instanceof TpmError &&
    error.responseCode.name !== undefined &&
    answers.includes(error.responseCode.name)
  );
}
