// Numbers of the TCG TPM 2.0 Library specification, Part 2: Structures. Only those that mos uses.

/** TPM_ST, table 19: structure tags. */
export const structureTags = {
  noSessions: 0x8001,
  sessions: 0x8002,
  attestQuote: 0x8018,
  creation: 0x8021,
  verified: 0x8022,
  authSecret: 0x8023,
  /** The tag of TPM 1.2 that an answer to a malformed command has. */
  tpm12Answer: 0x00c4,
} as const;

/** TPM_GENERATED_VALUE, table 6: what a statement begins with that only a TPM can sign. */
export const generatedValue = 0xff544347;

/** TPM_CC, table 12: command codes. */
export const commands = {
  TPM2_EvictControl: 0x120,
  TPM2_NV_UndefineSpace: 0x122,
  TPM2_Clear: 0x126,
  TPM2_HierarchyChangeAuth: 0x129,
  TPM2_NV_DefineSpace: 0x12a,
  TPM2_CreatePrimary: 0x131,
  TPM2_NV_Increment: 0x134,
  TPM2_NV_Extend: 0x136,
  TPM2_NV_Write: 0x137,
  TPM2_NV_WriteLock: 0x138,
  TPM2_DictionaryAttackLockReset: 0x139,
  TPM2_DictionaryAttackParameters: 0x13a,
  TPM2_PolicyNV: 0x149,
  TPM2_NV_Read: 0x14e,
  TPM2_NV_ReadLock: 0x14f,
  TPM2_PolicySecret: 0x151,
  TPM2_Create: 0x153,
  TPM2_ECDH_ZGen: 0x154,
  TPM2_Load: 0x157,
  TPM2_Quote: 0x158,
  TPM2_Unseal: 0x15e,
  TPM2_FlushContext: 0x165,
  TPM2_LoadExternal: 0x167,
  TPM2_NV_ReadPublic: 0x169,
  TPM2_PolicyAuthorize: 0x16a,
  TPM2_PolicyAuthValue: 0x16b,
  TPM2_PolicyCommandCode: 0x16c,
  TPM2_PolicyOR: 0x171,
  TPM2_ReadPublic: 0x173,
  TPM2_StartAuthSession: 0x176,
  TPM2_VerifySignature: 0x177,
  TPM2_GetCapability: 0x17a,
  TPM2_GetRandom: 0x17b,
  TPM2_PCR_Read: 0x17e,
  TPM2_PolicyPCR: 0x17f,
  TPM2_PolicyRestart: 0x180,
  TPM2_PCR_Extend: 0x182,
  TPM2_PolicyGetDigest: 0x189,
  TPM2_PolicyNvWritten: 0x18f,
} as const;

export type CommandName = keyof typeof commands;

/** TPM_ALG_ID, table 9. */
export const algorithms = {
  rsa: 0x0001,
  sha1: 0x0004,
  hmac: 0x0005,
  aes: 0x0006,
  keyedHash: 0x0008,
  xor: 0x000a,
  sha256: 0x000b,
  sha384: 0x000c,
  sha512: 0x000d,
  null: 0x0010,
  rsassa: 0x0014,
  rsaes: 0x0015,
  rsapss: 0x0016,
  oaep: 0x0017,
  ecdsa: 0x0018,
  ecdh: 0x0019,
  ecdaa: 0x001a,
  ecc: 0x0023,
  symCipher: 0x0025,
  cfb: 0x0043,
} as const;

/** TPM_ECC_CURVE, table 10. */
export const curves = { p256: 0x0003, p384: 0x0004, p521: 0x0005 } as const;

/** TPM_RH, table 28: permanent handles. */
export const permanent = {
  owner: 0x40000001,
  null: 0x40000007,
  /** TPM_RS_PW: the authorization is a password, not a session. */
  password: 0x40000009,
  lockout: 0x4000000a,
  endorsement: 0x4000000b,
  platform: 0x4000000c,
} as const;

/** TPM_HT, table 27: the first byte of a handle says what it names. */
export const handleTypes = { pcr: 0x00, nv: 0x01, persistent: 0x81 } as const;

/** TPM_SE, table 24. */
export const sessionTypes = { hmac: 0x00, policy: 0x01, trial: 0x03 } as const;

/** TPMA_SESSION, table 32. */
export const sessionAttributes = { continueSession: 0x01, decrypt: 0x20, encrypt: 0x40 } as const;

/** TPMA_OBJECT, table 31. */
export const objectAttributes = {
  fixedTpm: 0x2,
  fixedParent: 0x10,
  sensitiveDataOrigin: 0x20,
  userWithAuth: 0x40,
  adminWithPolicy: 0x80,
  noDa: 0x400,
  restricted: 0x10000,
  decrypt: 0x20000,
  sign: 0x40000,
} as const;

/** TPMA_NV, table 204. */
export const nvAttributes = {
  ppWrite: 0x1,
  ownerWrite: 0x2,
  authWrite: 0x4,
  policyWrite: 0x8,
  policyDelete: 0x400,
  writeLocked: 0x800,
  writeAll: 0x1000,
  writeDefine: 0x2000,
  writeStClear: 0x4000,
  globalLock: 0x8000,
  ppRead: 0x10000,
  ownerRead: 0x20000,
  authRead: 0x40000,
  policyRead: 0x80000,
  noDa: 0x2000000,
  orderly: 0x4000000,
  clearStClear: 0x8000000,
  readLocked: 0x10000000,
  written: 0x20000000,
  platformCreate: 0x40000000,
  readStClear: 0x80000000,
} as const;

/** TPM_NT, table 202: the kind of an NV index, in bits 4 to 7 of its attributes. */
export const nvKinds = { ordinary: 0x00, counter: 0x10, bits: 0x20, extend: 0x40 } as const;

/** TPM_EO, table 18: how PolicyNV compares; the index's value is on the left, numbers are unsigned. */
export const operations = {
  equal: 0x0000,
  notEqual: 0x0001,
  greater: 0x0003,
  less: 0x0005,
  greaterOrEqual: 0x0007,
  lessOrEqual: 0x0009,
} as const;

export type Operation = keyof typeof operations;

/** TPM_CAP, table 22. */
export const capabilities = { pcrs: 5, properties: 6 } as const;

/** TPM_PT, tables 23 and 24 (variable ones from 0x200 on). */
export const properties = {
  manufacturer: 0x105,
  nvBufferMax: 0x12c,
  permanent: 0x200,
  lockoutCounter: 0x20e,
  maxAuthFail: 0x20f,
  lockoutInterval: 0x210,
  lockoutRecovery: 0x211,
} as const;
