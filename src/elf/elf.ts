// Reads of an ELF file what the dynamic loader reads of it first (System V gABI, chapter 5): which loader it asks
// for, which libraries and versions of them, and where they are to be looked for. Files come from roots that
// nobody has checked.
import { FieldReader } from "../efi/little-endian.ts";
import { MosError } from "../errors/mos-error.ts";
import { type Bits, ElfLayout, word } from "./layout.ts";
import type { FileBytes } from "./root-tree.ts";
import { definedVersions, type NeededVersions, neededVersions } from "./versions.ts";

export interface ElfFile {
  /** 32 or 64 bits and the machine's number (e_machine): a loader passes over files of other kinds. */
  readonly bits: Bits;
  readonly machine: number;
  /** Absent in libraries and in static programs. */
  readonly interpreter: string | undefined;
  readonly needed: readonly string[];
  /** Directories; `$ORIGIN` and the like are still in them. */
  readonly rpath: readonly string[] | undefined;
  readonly runpath: readonly string[] | undefined;
  readonly soname: string | undefined;
  readonly neededVersions: readonly NeededVersions[];
  readonly definedVersions: ReadonlySet<string>;
  /** The loader's own directories are not for this file (DF_1_NODEFLIB). */
  readonly noDefaultDirectories: boolean;
}

/** gABI: p_type. */
const dynamicSegment = 2;
const interpreterSegment = 3;

/** gABI, figure 5-10, and LSB 5.0, 10.7: d_tag. */
const tag = {
  end: 0,
  needed: 1,
  strings: 5,
  stringBytes: 10,
  soname: 14,
  rpath: 15,
  runpath: 29,
  flags1: 0x6ffffffb,
  defines: 0x6ffffffc,
  definesCount: 0x6ffffffd,
  needs: 0x6ffffffe,
  needsCount: 0x6fffffff,
} as const;

const noDefaultLibraries = 0x800; // DF_1_NODEFLIB

// Far beyond what linkers write.
const maxDynamicBytes = 64 * 1024;
const maxStringBytes = 64 * 1024 * 1024;
const maxVersionBytes = 4 * 1024 * 1024;
/** PATH_MAX. */
const maxNameBytes = 4096;

/** Names are bytes, which a loader compares as they are; Latin-1 keeps each of them. */
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

function interpreterOf(layout: ElfLayout): string | undefined {
  const bytes = layout.segment(interpreterSegment, "the name of its interpreter", maxNameBytes);
  if (bytes === undefined) return undefined;
  if (bytes.length < 2 || bytes.indexOf(0) !== bytes.length - 1)
    throw new SyntaxError("the name of its interpreter is malformed");
  return textOf(bytes.subarray(0, -1));
}

function dynamicOf(layout: ElfLayout): readonly (readonly [tag: number, value: number])[] {
  const what = "its dynamic section";
  const bytes = layout.segment(dynamicSegment, what, maxDynamicBytes);
  if (bytes === undefined) return [];
  const reader = new FieldReader(bytes);
  const entries: (readonly [number, number])[] = [];
  while (reader.left >= layout.bits / 4) {
    const entry = [word(reader, layout.bits), word(reader, layout.bits)] as const;
    if (entry[0] === tag.end) return entries;
    entries.push(entry);
  }
  throw new SyntaxError(`${what} has no end`);
}

/** The strings that entries of the dynamic section name by their offset. */
function stringTable(
  layout: ElfLayout,
  one: (tag: number) => number | undefined,
): (offset: number) => string {
  const [address, size] = [one(tag.strings), one(tag.stringBytes)];
  if (address === undefined || size === undefined) {
    return () => {
      throw new SyntaxError("it has names and no table of strings");
    };
  }
  if (size > maxStringBytes) throw new SyntaxError("its table of strings is too long");
  const table = layout.loaded(address, size, "its table of strings");
  return (offset) => {
    const end = offset < table.length ? table.indexOf(0, offset) : -1;
    if (end < 0 || end - offset > maxNameBytes) throw new SyntaxError("a name in it has no end");
    return textOf(table.subarray(offset, end));
  };
}

function parse(file: FileBytes): ElfFile {
  const layout = new ElfLayout(file);
  const dynamic = dynamicOf(layout);
  const one = (key: number): number | undefined => dynamic.findLast(([found]) => found === key)?.[1];
  const name = stringTable(layout, one);
  const optional = (key: number): string | undefined => {
    const at = one(key);
    return at === undefined ? undefined : name(at);
  };
  const records = (at: number): Uint8Array => layout.loaded(at, maxVersionBytes, "its list of versions");
  const [needs, defines] = [one(tag.needs), one(tag.defines)];
  return {
    bits: layout.bits,
    machine: layout.machine,
    interpreter: interpreterOf(layout),
    needed: dynamic.filter(([key]) => key === tag.needed).map(([, at]) => name(at)),
    rpath: optional(tag.rpath)?.split(":"),
    runpath: optional(tag.runpath)?.split(":"),
    soname: optional(tag.soname),
    neededVersions: needs === undefined ? [] : neededVersions(records(needs), one(tag.needsCount) ?? 0, name),
    definedVersions:
      defines === undefined
        ? new Set<string>()
        : definedVersions(records(defines), one(tag.definesCount) ?? 0, name),
    noDefaultDirectories: ((one(tag.flags1) ?? 0) & noDefaultLibraries) !== 0,
  };
}

/**
 * Reads an ELF file of 32 or 64 bits, little-endian.
 * @param about its path, for messages
 * @throws MosError `program-malformed`
 */
export function parseElf(file: FileBytes, about: string): ElfFile {
  try {
    return parse(file);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError("program-malformed", `cannot read the program ${about}: ${error.message}`, {
      about,
      cause: error,
    });
  }
}
