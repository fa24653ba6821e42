// Versions of the interfaces of shared libraries (LSB 5.0, section 10.7 "Symbol Versioning"): which of them a file
// needs, and which a library has. A library can be there and still be of another build of the C library.

/** Versions that a file needs of one library. */
export interface NeededVersions {
  readonly library: string;
  readonly versions: readonly string[];
}

/** VER_FLG_WEAK: the loader warns and goes on. */
const weak = 2;
/** Far more than the C library itself has. */
const maxRecords = 16_384;

/** Records of fixed layout, each of which says how far it is to the next; all counts together are limited. */
class Records {
  private readonly view: DataView;
  private left = maxRecords;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  private need(at: number, length: number): void {
    if (at + length > this.view.byteLength)
      throw new SyntaxError("its versions are outside of what is loaded");
  }

  u16(at: number): number {
    this.need(at, 2);
    return this.view.getUint16(at, true);
  }

  u32(at: number): number {
    this.need(at, 4);
    return this.view.getUint32(at, true);
  }

  /** Where each record of a chain is. `next`: where in a record the distance to the next one is. */
  *chain(start: number, count: number, next: number): Generator<number> {
    for (let i = 0, at = start; i < count; i++) {
      if (this.left-- === 0) throw new SyntaxError("it has too many versions");
      yield at;
      const distance = this.u32(at + next);
      if (distance === 0) return;
      at += distance;
    }
  }
}

/** Elfxx_Verneed and Elfxx_Vernaux. @throws SyntaxError */
export function neededVersions(
  bytes: Uint8Array,
  count: number,
  name: (offset: number) => string,
): NeededVersions[] {
  const records = new Records(bytes);
  const found: NeededVersions[] = [];
  for (const at of records.chain(0, count, 12)) {
    const versions: string[] = [];
    for (const of of records.chain(at + records.u32(at + 8), records.u16(at + 2), 12)) {
      if ((records.u16(of + 4) & weak) === 0) versions.push(name(records.u32(of + 8)));
    }
    found.push({ library: name(records.u32(at + 4)), versions });
  }
  return found;
}

/** Elfxx_Verdef, of each the first Elfxx_Verdaux: its own name. @throws SyntaxError */
export function definedVersions(
  bytes: Uint8Array,
  count: number,
  name: (offset: number) => string,
): ReadonlySet<string> {
  const records = new Records(bytes);
  const found = new Set<string>();
  for (const at of records.chain(0, count, 16)) found.add(name(records.u32(at + records.u32(at + 12))));
  return found;
}
