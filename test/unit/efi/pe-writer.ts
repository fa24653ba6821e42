// A small EFI program for tests, good by default; a test breaks one by one named change.

interface Section {
  readonly name: string;
  readonly content: Uint8Array;
}

const fileAlignment = 0x200;
const memoryAlignment = 0x1000;
const aligned = (value: number, to: number): number => Math.ceil(value / to) * to;

/** Where things are in what {@link writePe} makes. */
export const places = {
  peOffset: 0x3c,
  sectionCount: 0x80 + 6,
  optionalSize: 0x80 + 20,
  magic: 0x80 + 24,
  headersSize: 0x80 + 24 + 60,
  checksum: 0x80 + 24 + 64,
  directoryCount: 0x80 + 24 + 108,
  certificateOffset: 0x80 + 24 + 112 + 32,
  certificateSize: 0x80 + 24 + 112 + 36,
  /** The first entry of the section table: +8 size in memory, +12 address, +16 size, +20 offset. */
  sectionTable: 0x80 + 24 + 240,
} as const;

/** A PE32+ image of these sections, with `trailer` behind them. */
export function writePe(sections: readonly Section[], trailer: Uint8Array = new Uint8Array()): Uint8Array {
  const headersSize = aligned(places.sectionTable + sections.length * 40, fileAlignment);
  const head = Buffer.alloc(headersSize);
  head.write("MZ", 0);
  head.writeUInt32LE(0x80, places.peOffset);
  head.write("PE\0\0", 0x80);
  head.writeUInt16LE(0x8664, 0x84);
  head.writeUInt16LE(sections.length, places.sectionCount);
  head.writeUInt16LE(240, places.optionalSize);
  head.writeUInt16LE(0x20b, places.magic);
  head.writeUInt32LE(memoryAlignment, places.magic + 32);
  head.writeUInt32LE(fileAlignment, places.magic + 36);
  head.writeUInt32LE(headersSize, places.headersSize);
  head.writeUInt16LE(10, places.magic + 68); // EFI application
  head.writeUInt32LE(16, places.directoryCount);
  let offset = headersSize;
  let address = memoryAlignment;
  const bodies: Uint8Array[] = [];
  for (const [index, { name, content }] of sections.entries()) {
    const at = places.sectionTable + index * 40;
    const size = aligned(content.length, fileAlignment);
    head.write(name, at, "latin1");
    for (const [field, value] of [content.length, address, size, offset].entries()) {
      head.writeUInt32LE(value, at + 8 + field * 4);
    }
    bodies.push(Buffer.concat([content, new Uint8Array(size - content.length)]));
    offset += size;
    address += aligned(content.length, memoryAlignment);
  }
  head.writeUInt32LE(address, places.magic + 56);
  return Buffer.concat([head, ...bodies, trailer]);
}

/** A copy with one number changed. */
export function patched(bytes: Uint8Array, at: number, value: number, size = 4): Uint8Array {
  const copy = Buffer.from(bytes);
  copy.writeUIntLE(value, at, size);
  return copy;
}

export const text = (content: string): Uint8Array => Buffer.from(content);
