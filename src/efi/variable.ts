// EFI variables through Linux's efivarfs: one file per variable, NAME-GUID, four bytes of attributes and then the
// data (Documentation/filesystems/efivarfs.rst). Attributes are checked against what the specification gives the
// variable: one that the firmware protects and one that somebody made at run time differ in nothing else.
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { type Guid, guids } from "./guid.ts";
import { u32le } from "./little-endian.ts";

/** Where the kernel shows them. */
export const efivarsDirectory = "/sys/firmware/efi/efivars";

// UEFI 2.10 section 8.2.1.
const nonVolatile = 0x01;
const bootService = 0x02;
const runtime = 0x04;
const timeBasedAuthenticated = 0x20;

/** What firmware tells of itself, and nobody can write. */
const firmwareState = bootService | runtime;
/** Key databases: written only with a signature (UEFI 2.10 section 3.3, table 3.1). */
const authenticated = nonVolatile | bootService | runtime | timeBasedAuthenticated;

export interface VariableId {
  readonly name: string;
  readonly guid: Guid;
  /** Exactly these attributes, or the variable is not what it claims to be. */
  readonly attributes: number;
}

/** The variables that mos reads. */
export const variables = {
  secureBoot: { name: "SecureBoot", guid: guids.global, attributes: firmwareState },
  setupMode: { name: "SetupMode", guid: guids.global, attributes: firmwareState },
  pk: { name: "PK", guid: guids.global, attributes: authenticated },
  kek: { name: "KEK", guid: guids.global, attributes: authenticated },
  db: { name: "db", guid: guids.imageSecurity, attributes: authenticated },
  dbx: { name: "dbx", guid: guids.imageSecurity, attributes: authenticated },
} as const satisfies Record<string, VariableId>;

/** Many times what firmware keeps; a db of all of Microsoft's keys has 8 KiB, a dbx some 25 KiB. */
const maxSize = 1024 * 1024;
const attributesSize = 4;

function fileOf(directory: string, { name, guid }: VariableId): string {
  return join(directory, `${name}-${guid}`);
}

/** The file's bytes; the file's size is what the kernel read last and may be stale, so it is not asked. */
async function readBounded(path: string): Promise<Uint8Array> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(attributesSize + maxSize + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

/**
 * The data of a variable, of any size up to 1 MiB.
 * @throws MosError `efi-variable-missing`, `efi-variable-invalid` (no data, too much, other attributes than the
 * variable has), `efi-unreadable`
 */
export async function readVariable(directory: string, id: VariableId): Promise<Uint8Array> {
  const path = fileOf(directory, id);
  const invalid = (why: string): MosError =>
    new MosError("efi-variable-invalid", `cannot use the EFI variable ${id.name}: ${why}`, { about: path });
  let bytes: Uint8Array;
  try {
    bytes = await readBounded(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") {
      throw new MosError("efi-variable-missing", `cannot find the EFI variable ${id.name}`, { about: path });
    }
    throw new MosError(
      "efi-unreadable",
      `cannot read the EFI variable ${id.name} (${code ?? "unknown error"})`,
      {
        about: path,
        cause: error,
      },
    );
  }
  // efivarfs shows a variable that was created and never written as an empty file.
  if (bytes.length <= attributesSize) throw invalid("it is empty");
  const data = bytes.subarray(attributesSize);
  if (data.length > maxSize) throw invalid(`it has more than ${maxSize} bytes`);
  const attributes = Buffer.from(bytes).readUInt32LE(0);
  if (attributes !== id.attributes) {
    const hex = (value: number): string => `0x${value.toString(16)}`;
    throw invalid(`its attributes are ${hex(attributes)}, and must be ${hex(id.attributes)}`);
  }
  return data;
}

/** The file is immutable by default, so that `rm -rf` does not brick a board; lifted for one write. */
async function withoutImmutable<T>(path: string, work: () => Promise<T>): Promise<T> {
  const { changeImmutable } = await import("../system/libc.ts");
  let existing: Awaited<ReturnType<typeof open>>;
  try {
    existing = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return await work();
    throw error;
  }
  await using handle = existing;
  const wasImmutable = changeImmutable(handle.fd, false);
  try {
    return await work();
  } finally {
    if (wasImmutable) changeImmutable(handle.fd, true);
  }
}

/**
 * Writes a variable: attributes and data in one write(2), which the kernel makes one SetVariable() call, so that
 * the firmware takes all of it or nothing. For an authenticated variable `data` begins with the
 * EFI_VARIABLE_AUTHENTICATION_2 that signs it.
 * @throws MosError `efi-variable-invalid` when the data is empty or too large, `io-failed` when the firmware or
 * the kernel refuses
 */
export async function writeVariable(directory: string, id: VariableId, data: Uint8Array): Promise<void> {
  const path = fileOf(directory, id);
  if (data.length === 0 || data.length > maxSize) {
    throw new MosError(
      "efi-variable-invalid",
      `cannot write ${data.length} bytes to the EFI variable ${id.name}: writing nothing would delete it, and more than ${maxSize} bytes are too many`,
      { about: path },
    );
  }
  const content = Buffer.concat([u32le(id.attributes), data]);
  try {
    await withoutImmutable(path, async () => {
      await using handle = await open(path, constants.O_WRONLY | constants.O_CREAT, 0o644);
      const { bytesWritten } = await handle.write(content, 0, content.length, null);
      if (bytesWritten !== content.length) throw new Error(`only ${bytesWritten} bytes were taken`);
    });
  } catch (error) {
    const why = systemCode(error) ?? (error instanceof Error ? error.message : "unknown");
    throw new MosError("io-failed", `cannot write the EFI variable ${id.name} (${why})`, {
      about: path,
      cause: error,
      hint: "EACCES or EINVAL: the firmware wants a signature, or another one. EROFS: efivarfs is mounted read-only.",
    });
  }
}
