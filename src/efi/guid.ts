// EFI_GUID (UEFI 2.10 appendix A): 16 bytes whose first three fields are little-endian, so that the bytes and the
// text do not have the same order.
import { MosError } from "../errors/mos-error.ts";

/** Canonical text: lower-case hex, 8-4-4-4-12. */
export type Guid = string & { readonly __guid: true };

export const guidSize = 16;

const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function isGuid(text: string): text is Guid {
  return pattern.test(text);
}

/** For each byte, which byte of the text's order it is. */
const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

/**
 * Reads the text of a GUID; upper case is taken too.
 * @throws MosError `name-invalid`
 */
export function parseGuid(text: string): Guid {
  const lower = text.toLowerCase();
  if (isGuid(lower)) return lower;
  throw new MosError("name-invalid", "cannot read a GUID: it has the form 8-4-4-4-12 hex digits", {
    about: text,
    hint: "Write it like d719b2cb-3d3a-4596-a3bc-dad00e67656f.",
  });
}

export function encodeGuid(guid: Guid): Uint8Array {
  const plain = Buffer.from(guid.replaceAll("-", ""), "hex");
  return Uint8Array.from(order, (from) => plain[from] ?? 0);
}

/** @throws SyntaxError when there are not exactly 16 bytes */
export function decodeGuid(bytes: Uint8Array): Guid {
  if (bytes.length !== guidSize) throw new SyntaxError(`a GUID has ${guidSize} bytes, not ${bytes.length}`);
  const hex = Buffer.from(order.map((from) => bytes[from] ?? 0)).toString("hex");
  return parseGuid(hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"));
}

/** The GUIDs that mos knows by name. */
export const guids = {
  /** EFI_GLOBAL_VARIABLE (UEFI 2.10 section 3.3): SecureBoot, SetupMode, PK, KEK. */
  global: parseGuid("8be4df61-93ca-11d2-aa0d-00e098032b8c"),
  /** EFI_IMAGE_SECURITY_DATABASE_GUID (UEFI 2.10 section 32.6.1): db, dbx. */
  imageSecurity: parseGuid("d719b2cb-3d3a-4596-a3bc-dad00e67656f"),
  /** SHIM_LOCK_GUID of shim: SbatLevel, MokListTrusted. */
  shimLock: parseGuid("605dab50-e046-4300-abb6-3dd810dd8b23"),
  /** Nobody: the owner that upstream's shim gives the keys of its vendor database. */
  zero: parseGuid("00000000-0000-0000-0000-000000000000"),
} as const;
