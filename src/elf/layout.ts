// Where things are in an ELF file (System V gABI, chapters 4 and 5), found by its program headers alone: section
// headers may be stripped. Every offset, count and length has a limit, and nothing is read that is not in the file.
import { FieldReader } from "../efi/little-endian.ts";
import type { FileBytes } from "./root-tree.ts";

export type Bits = 32 | 64;

/** gABI: p_type. */
const loaded = 1;
const header = "its header";
/** No linker writes near so many. */
const maxSegments = 256;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

/** A file whose header was read. What is wrong is a SyntaxError whose words go on from "…: ". */
export class ElfLayout {
  readonly bits: Bits;
  readonly machine: number;
  private readonly file: FileBytes;
  private readonly segments: readonly Segment[];

  /** @throws SyntaxError */
  constructor(file: FileBytes) {
    this.file = file;
    this.bits = bitsOf(file);
    const { machine, segments } = readSegments(file, this.bits);
    this.machine = machine;
    this.segments = segments;
  }

  /** The content of the one segment of a type; undefined when there is none. @throws SyntaxError */
  segment(type: number, what: string, limit: number): Uint8Array | undefined {
    const found = this.segments.filter((one) => one.type === type);
    const [first] = found;
    if (first === undefined) return undefined;
    if (found.length > 1) throw new SyntaxError(`it has ${found.length} times ${what}`);
    if (first.size > limit) throw new SyntaxError(`${what} is too long`);
    return bytesAt(this.file, first.offset, first.size, what);
  }

  /** What is in the file for an address of the loaded program, up to the end of its segment or so many bytes. */
  loaded(address: number, limit: number, what: string): Uint8Array {
    for (const { type, offset, address: start, size } of this.segments) {
      if (type !== loaded || address < start || address >= start + size) continue;
      const into = address - start;
      return bytesAt(this.file, offset + into, Math.min(limit, size - into), what);
    }
    throw new SyntaxError(`${what} is outside of what is loaded`);
  }
}

/** A number of as many bits as the file has; one that JavaScript cannot hold becomes one that is in no file. */
export function word(reader: FieldReader, bits: Bits): number {
  if (bits === 32) return reader.u32(header);
  const [low, high] = [reader.u32(header), reader.u32(header)];
  return Math.min(high * 2 ** 32 + low, Number.MAX_SAFE_INTEGER);
}

function bytesAt(file: FileBytes, offset: number, length: number, what: string): Uint8Array {
  if (offset > file.size || length > file.size - offset)
    throw new SyntaxError(`${what} is outside of the file`);
  const bytes = file.read(offset, length);
  if (bytes.length !== length) throw new SyntaxError(`${what} ends early`);
  return bytes;
}

/** gABI: EI_MAG, EI_CLASS, EI_DATA, EI_VERSION. */
function bitsOf(file: FileBytes): Bits {
  const ident = bytesAt(file, 0, Math.min(16, file.size), header);
  if (Buffer.from(ident.subarray(0, 4)).toString("latin1") !== "\x7fELF")
    throw new SyntaxError("it is no ELF file");
  if (ident.length < 16) throw new SyntaxError("its header ends early");
  if (ident[5] !== 1) throw new SyntaxError("it is not little-endian");
  if (ident[6] !== 1 || (ident[4] !== 1 && ident[4] !== 2))
    throw new SyntaxError("it is of an unknown class");
  return ident[4] === 2 ? 64 : 32;
}

function readSegments(file: FileBytes, bits: Bits): { machine: number; segments: Segment[] } {
  const [headerBytes, entrySize] = bits === 64 ? [64, 56] : [52, 32];
  const reader = new FieldReader(bytesAt(file, 0, headerBytes, header));
  reader.take(18, header); // e_ident, e_type
  const machine = reader.u16(header);
  reader.u32(header); // e_version
  word(reader, bits); // e_entry
  const tableAt = word(reader, bits);
  word(reader, bits); // e_shoff
  reader.take(6, header); // e_flags, e_ehsize
  const [givenSize, count] = [reader.u16(header), reader.u16(header)];
  if (count > maxSegments) throw new SyntaxError(`it has ${count} program headers`);
  if (count > 0 && givenSize !== entrySize) throw new SyntaxError("its program headers have an unknown size");
  const what = "its table of program headers";
  const table = new FieldReader(bytesAt(file, tableAt, count * entrySize, what));
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const type = table.u32(what);
    if (bits === 64) table.u32(what); // p_flags
    const [offset, address] = [word(table, bits), word(table, bits)];
    word(table, bits); // p_paddr
    const size = word(table, bits); // p_filesz
    table.take(bits === 64 ? 16 : 12, what);
    segments.push({ type, offset, address, size });
  }
  return { machine, segments };
}
