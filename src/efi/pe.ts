// PE/COFF images (Microsoft PE format), read as strictly as a signature needs: every byte of the file belongs to
// the headers, to one section, to data behind the last section, or to the attribute certificates at the end.
// Gaps and overlaps are refused: programs that hash such files do not agree on what they hash.
import { MosError } from "../errors/mos-error.ts";
import { FieldReader } from "./little-endian.ts";

export interface PeSection {
  /** For example `.linux`; at most eight characters. */
  readonly name: string;
  /** Bytes in memory; what is behind them in the file is padding. */
  readonly virtualSize: number;
  readonly virtualAddress: number;
  readonly offset: number;
  /** Bytes in the file. */
  readonly size: number;
}

export interface PeImage {
  /** The file's name, for errors. */
  readonly about: string;
  readonly bytes: Uint8Array;
  /** In the order of the section table. */
  readonly sections: readonly PeSection[];
  /** Where the checksum is: four bytes that no signature covers. */
  readonly checksumAt: number;
  /** Where the data directory's entry for attribute certificates is: eight bytes that no signature covers. */
  readonly certificateEntryAt: number;
  /** The attribute certificates, from their offset to the end of the file; empty in an unsigned image. */
  readonly certificates: { readonly offset: number; readonly size: number };
}

/** A UKI with a large initrd; far below what a Buffer can hold. */
export const maxImageSize = 2 * 1024 ** 3 - 1;
/** ukify makes some fifteen; the format allows 65 535. */
const maxSections = 96;

const peOffsetAt = 0x3c;
const fileHeaderSize = 20;
const sectionHeaderSize = 40;
/** Offsets in the optional header (PE format, "Optional Header"): the directory comes earlier in PE32 than in PE32+. */
const layouts: ReadonlyMap<number, { readonly directories: number }> = new Map([
  [0x10b, { directories: 96 }], // PE32
  [0x20b, { directories: 112 }], // PE32+
]);
const checksumField = 64;
const headersSizeField = 60;
const certificateEntry = 4;
const directoryEntrySize = 8;

class Malformed extends SyntaxError {}

function at(bytes: Uint8Array, offset: number, what: string): FieldReader {
  if (offset < 0 || offset > bytes.length) throw new Malformed(`${what} is outside of the file`);
  return new FieldReader(bytes.subarray(offset));
}

function readName(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("latin1");
  const rest = end < 0 ? bytes.subarray(bytes.length) : bytes.subarray(end);
  if (!/^[\x21-\x7e]*$/.test(text) || rest.some((byte) => byte !== 0)) {
    throw new Malformed("a section has a name that cannot be read");
  }
  return text;
}

function readSections(reader: FieldReader, count: number): PeSection[] {
  const sections: PeSection[] = [];
  for (let index = 0; index < count; index++) {
    const name = readName(reader.take(8, "the section table"));
    const virtualSize = reader.u32("the section table");
    const virtualAddress = reader.u32("the section table");
    const size = reader.u32("the section table");
    const offset = reader.u32("the section table");
    reader.take(16, "the section table");
    sections.push({ name, virtualSize, virtualAddress, offset, size });
  }
  return sections;
}

/** Sections in the file must follow the headers and each other without gap or overlap. @returns where they end */
function checkContiguous(sections: readonly PeSection[], headersSize: number, limit: number): number {
  let end = headersSize;
  const inFile = sections.filter(({ size }) => size > 0).toSorted((a, b) => a.offset - b.offset);
  for (const { name, offset, size } of inFile) {
    if (offset < end) throw new Malformed(`the section ${name} overlaps what is before it`);
    if (offset > end)
      throw new Malformed(
        `there are ${offset - end} bytes before the section ${name} that belong to nothing`,
      );
    end = offset + size;
    if (end > limit) throw new Malformed(`the section ${name} reaches into what is behind the image`);
  }
  return end;
}

/** Memory is what runs: two sections in one place, and one of them is not what its name says. */
function checkAddresses(sections: readonly PeSection[]): void {
  const loaded = sections.filter(({ virtualSize }) => virtualSize > 0);
  let end = 0;
  for (const { name, virtualAddress, virtualSize } of loaded.toSorted(
    (a, b) => a.virtualAddress - b.virtualAddress,
  )) {
    if (virtualAddress < end) throw new Malformed(`the section ${name} overlaps another one in memory`);
    end = virtualAddress + virtualSize;
  }
}

function parse(bytes: Uint8Array, about: string): PeImage {
  if (bytes.length > maxImageSize) throw new Malformed(`it has more than ${maxImageSize} bytes`);
  const magic = at(bytes, 0, "the DOS header").take(2, "the DOS header");
  if (magic[0] !== 0x4d || magic[1] !== 0x5a) throw new Malformed("it does not begin with MZ");
  const peAt = at(bytes, peOffsetAt, "the DOS header").u32("the DOS header");
  const header = at(bytes, peAt, "the PE header");
  if (header.u32("the PE header") !== 0x4550) throw new Malformed("it has no PE header");
  header.take(2, "the PE header"); // machine
  const sectionCount = header.u16("the PE header");
  header.take(12, "the PE header"); // time, symbol table
  const optionalSize = header.u16("the PE header");
  if (sectionCount === 0 || sectionCount > maxSections)
    throw new Malformed(`it has ${sectionCount} sections`);

  const optionalAt = peAt + 4 + fileHeaderSize;
  const optional = at(bytes, optionalAt, "the optional header").take(optionalSize, "the optional header");
  const field = (offset: number): number =>
    at(optional, offset, "the optional header").u32("the optional header");
  const layout = layouts.get(at(optional, 0, "the optional header").u16("the optional header"));
  if (layout === undefined) throw new Malformed("it is neither PE32 nor PE32+");
  const headersSize = field(headersSizeField);
  const directories = field(layout.directories - 4);
  const entry = layout.directories + certificateEntry * directoryEntrySize;
  if (directories <= certificateEntry || entry + directoryEntrySize > optionalSize) {
    throw new Malformed("its headers have no place for a signature");
  }
  const tableAt = optionalAt + optionalSize;
  const sections = readSections(at(bytes, tableAt, "the section table"), sectionCount);
  if (headersSize < tableAt + sectionCount * sectionHeaderSize || headersSize > bytes.length) {
    throw new Malformed("its headers have an impossible size");
  }

  const [offset, size] = [field(entry), field(entry + 4)];
  const isSigned = size !== 0 || offset !== 0;
  if (isSigned && (offset % 8 !== 0 || size === 0 || offset + size !== bytes.length)) {
    throw new Malformed("its attribute certificates are not the end of the file");
  }
  const certificates = isSigned ? { offset, size } : { offset: bytes.length, size: 0 };
  const end = checkContiguous(sections, headersSize, certificates.offset);
  if (end > certificates.offset) throw new Malformed("its attribute certificates overlap the image");
  checkAddresses(sections);
  return {
    about,
    bytes,
    sections,
    checksumAt: optionalAt + checksumField,
    certificateEntryAt: optionalAt + entry,
    certificates,
  };
}

/**
 * Reads the headers of an EFI image.
 * @param about names the file in the error
 * @throws MosError `efi-image-malformed`
 */
export function parsePe(bytes: Uint8Array, about: string): PeImage {
  try {
    return parse(bytes, about);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError("efi-image-malformed", `cannot use this as an EFI program: ${error.message}`, {
      about,
      cause: error,
    });
  }
}

/** What a section holds in memory: without the padding of the file, and never more than the file has. */
export function sectionContent(image: PeImage, section: PeSection): Uint8Array {
  const length = Math.min(section.size, section.virtualSize);
  return image.bytes.subarray(section.offset, section.offset + length);
}
