// The key databases of the firmware: which certificates may vouch for what boots (db), and what is revoked (dbx).
import { MosError } from "../errors/mos-error.ts";
import type { Guid } from "./guid.ts";
import { decodeSignatureLists, type SignatureEntry, signatureTypes } from "./signature-list.ts";
import { efivarsDirectory, readVariable, type VariableId, variables } from "./variable.ts";

export interface DatabaseCertificate {
  /** X.509, DER; not parsed yet. */
  readonly certificate: Uint8Array;
  /** Who put it there. */
  readonly owner: Guid;
}

async function readEntries(directory: string, id: VariableId): Promise<ReadonlyMap<Guid, SignatureEntry[]>> {
  const entries = new Map<Guid, SignatureEntry[]>();
  for (const list of decodeSignatureLists(await readVariable(directory, id), id.name)) {
    entries.set(list.type, [...(entries.get(list.type) ?? []), ...list.entries]);
  }
  return entries;
}

function certificatesOf(entries: ReadonlyMap<Guid, SignatureEntry[]>): readonly DatabaseCertificate[] {
  return (entries.get(signatureTypes.x509) ?? []).map(({ data, owner }) => ({ certificate: data, owner }));
}

/**
 * The X.509 certificates of `db`, in its order. Entries of other types (hashes of single programs) are passed over.
 * @throws MosError `efi-variable-missing`, `efi-variable-invalid`, `efi-unreadable`
 */
export async function readDb(directory: string = efivarsDirectory): Promise<readonly DatabaseCertificate[]> {
  return certificatesOf(await readEntries(directory, variables.db));
}

/** What the firmware refuses. */
export interface Revocations {
  readonly certificates: readonly DatabaseCertificate[];
  /** Authenticode SHA-256 digests of single programs, hex. */
  readonly imageHashes: ReadonlySet<string>;
  /** SHA-256 of the to-be-signed parts of certificates, hex (EFI_CERT_X509_SHA256_GUID). */
  readonly certificateHashes: ReadonlySet<string>;
}

/**
 * What `dbx` revokes. A firmware without the variable revokes nothing; one whose variable cannot be understood
 * stops everything.
 * @throws MosError `efi-variable-invalid`, `efi-unreadable`
 */
export async function readDbx(directory: string = efivarsDirectory): Promise<Revocations> {
  let entries: ReadonlyMap<Guid, SignatureEntry[]> = new Map();
  try {
    entries = await readEntries(directory, variables.dbx);
  } catch (error) {
    if (!(error instanceof MosError && error.code === "efi-variable-missing")) throw error;
  }
  const hashes = (type: Guid): ReadonlySet<string> =>
    new Set((entries.get(type) ?? []).map(({ data }) => Buffer.from(data.subarray(0, 32)).toString("hex")));
  return {
    certificates: certificatesOf(entries),
    imageHashes: hashes(signatureTypes.sha256),
    certificateHashes: hashes(signatureTypes.x509Sha256),
  };
}
