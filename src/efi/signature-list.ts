// EFI_SIGNATURE_LIST (UEFI 2.10 section 32.4.1): what db, dbx, KEK and PK hold. A variable is any number of lists,
// one after the other; a list holds entries of one type and one size; each entry says who owns it.
//
//   list:   GUID type · u32 size of the list · u32 size of the header · u32 size of an entry · header · entries
//   entry:  GUID owner · data
import { MosError } from "../errors/mos-error.ts";
import { decodeGuid, encodeGuid, type Guid, guidSize, parseGuid } from "./guid.ts";
import { FieldReader, u32le } from "./little-endian.ts";

/** The types that mos knows; lists of others are kept as they are. */
export const signatureTypes = {
  x509: parseGuid("a5c059a1-94e4-4aa7-87b5-ab155c2bf072"), // EFI_CERT_X509_GUID
  sha256: parseGuid("c1c41626-504c-4092-aca9-41f936934328"), // EFI_CERT_SHA256_GUID
  x509Sha256: parseGuid("3bd2a492-96c0-4079-b420-fcf98ef103ed"), // EFI_CERT_X509_SHA256_GUID
} as const;

export interface SignatureEntry {
  readonly owner: Guid;
  readonly data: Uint8Array;
}

export interface SignatureList {
  readonly type: Guid;
  /** Empty for every type that the specification defines. */
  readonly header: Uint8Array;
  /** Bytes of each entry's data, which a list without entries states too. */
  readonly dataSize: number;
  readonly entries: readonly SignatureEntry[];
}

const listHeadSize = guidSize + 3 * 4;
/** As many as 1 MiB of hashes has, which is what a variable is limited to. */
const maxEntries = 16_384;

/** Bytes of data that an entry of a type has, where the specification fixes them. */
const fixedSizes: ReadonlyMap<Guid, number> = new Map([
  [signatureTypes.sha256, 32],
  [signatureTypes.x509Sha256, 32 + 16], // the hash, and EFI_TIME of the revocation
]);

/** Types whose lists have no header. */
const headerless: ReadonlySet<Guid> = new Set(Object.values(signatureTypes));

function checkShape(type: Guid, headerSize: number, dataSize: number): void {
  if (headerless.has(type) && headerSize !== 0)
    throw new SyntaxError("a list has a header that its type does not have");
  const fixed = fixedSizes.get(type);
  if (fixed !== undefined && dataSize !== fixed) {
    throw new SyntaxError(`a list has entries of ${dataSize} bytes, and its type has ${fixed}`);
  }
}

function decodeList(reader: FieldReader): SignatureList {
  const type = decodeGuid(reader.take(guidSize, "a signature list"));
  const size = reader.u32("a signature list");
  const headerSize = reader.u32("a signature list");
  const entrySize = reader.u32("a signature list");
  if (size < listHeadSize) throw new SyntaxError(`a list says that it has ${size} bytes`);
  const body = new FieldReader(reader.take(size - listHeadSize, "a signature list"));
  const header = body.take(headerSize, "the header of a list");
  // An entry has its owner and at least one byte of data.
  if (entrySize <= guidSize) throw new SyntaxError(`a list says that its entries have ${entrySize} bytes`);
  if (body.left % entrySize !== 0) throw new SyntaxError("a list does not end where its last entry does");
  const dataSize = entrySize - guidSize;
  checkShape(type, headerSize, dataSize);
  const entries: SignatureEntry[] = [];
  while (body.left > 0) {
    const owner = decodeGuid(body.take(guidSize, "an entry"));
    entries.push({ owner, data: body.take(dataSize, "an entry") });
  }
  return { type, header, dataSize, entries };
}

/**
 * Reads all lists of a variable; no bytes at all are no list.
 * @param what names the variable in the error
 * @throws MosError `efi-variable-invalid`
 */
export function decodeSignatureLists(bytes: Uint8Array, what: string): readonly SignatureList[] {
  const lists: SignatureList[] = [];
  try {
    const reader = new FieldReader(bytes);
    let entries = 0;
    while (reader.left > 0) {
      const list = decodeList(reader);
      entries += list.entries.length;
      if (entries > maxEntries) throw new SyntaxError(`more than ${maxEntries} entries`);
      lists.push(list);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : "unknown";
    throw new MosError("efi-variable-invalid", `cannot read the signature lists of ${what}: ${why}`, {
      about: what,
      cause: error,
    });
  }
  return lists;
}

/**
 * The bytes of lists, the inverse of {@link decodeSignatureLists}.
 * @throws RangeError when an entry has not the size that its list states
 */
export function encodeSignatureLists(lists: readonly SignatureList[]): Uint8Array {
  return Buffer.concat(
    lists.flatMap(({ type, header, dataSize, entries }) => {
      if (entries.some(({ data }) => data.length !== dataSize)) {
        throw new RangeError("an entry of a signature list has another size than the list says");
      }
      const entrySize = guidSize + dataSize;
      return [
        encodeGuid(type),
        u32le(listHeadSize + header.length + entries.length * entrySize),
        u32le(header.length),
        u32le(entrySize),
        header,
        ...entries.flatMap(({ owner, data }) => [encodeGuid(owner), data]),
      ];
    }),
  );
}

/** A list of one entry, which is how certificates are kept: each has a size of its own. */
export function listOf(type: Guid, entry: SignatureEntry): SignatureList {
  return { type, header: new Uint8Array(), dataSize: entry.data.length, entries: [entry] };
}
