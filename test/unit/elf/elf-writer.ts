// Writes small ELF files for tests, byte by byte from the specification: a program or a library that asks for a
// loader, libraries, versions and run paths, and has no code.

export interface ElfText {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly interpreter?: string;
  readonly needed?: readonly string[];
  readonly rpath?: string;
  readonly runpath?: string;
  readonly soname?: string;
  /** Of each library, versions that are needed. */
  readonly needs?: Readonly<Record<string, readonly string[]>>;
  readonly defines?: readonly string[];
  readonly noDefaultDirectories?: boolean;
  /** Behind everything else, as text. */
  readonly data?: string;
}

/** Where its segment is loaded; anything but 0, so that addresses and offsets are not taken for one another. */
const base = 0x10000;

/** The file. */
export function writeElf(text: ElfText): Buffer {
  const bits = text.bits ?? 64;
  const [headerBytes, entryBytes, word] = bits === 64 ? [64, 56, 8] : [52, 32, 4];
  const strings: number[] = [0];
  const name = (value: string): number => {
    const at = strings.length;
    strings.push(...Buffer.from(value, "latin1"), 0);
    return at;
  };
  const number = (value: number, bytes: number): Buffer => {
    const buffer = Buffer.alloc(bytes);
    if (bytes === 8) buffer.writeBigUInt64LE(BigInt(value));
    else buffer.writeUIntLE(value, 0, bytes);
    return buffer;
  };
  const u16 = (value: number): Buffer => number(value, 2);
  const u32 = (value: number): Buffer => number(value, 4);

  const needs = Object.entries(text.needs ?? {}).map(([library, versions], i, all) =>
    Buffer.concat([
      ...[u16(1), u16(versions.length), u32(name(library)), u32(16)],
      u32(i === all.length - 1 ? 0 : 16 + versions.length * 16),
      ...versions.flatMap((version, j) => [
        ...[u32(0), u16(0), u16(2), u32(name(version))],
        u32(j === versions.length - 1 ? 0 : 16),
      ]),
    ]),
  );
  const defines = (text.defines ?? []).map((version, i, all) =>
    Buffer.concat([
      ...[u16(1), u16(0), u16(i + 1), u16(1), u32(0), u32(20), u32(i === all.length - 1 ? 0 : 28)],
      ...[u32(name(version)), u32(0)],
    ]),
  );
  const named: (readonly [number, string | undefined])[] = [
    ...(text.needed ?? []).map((one) => [1, one] as const),
    ...([[14, text.soname] as const, [15, text.rpath] as const, [29, text.runpath] as const] as const),
  ];
  const entries = named.flatMap(([tag, value]) => (value === undefined ? [] : [[tag, name(value)] as const]));

  const interpreter = text.interpreter === undefined ? Buffer.alloc(0) : Buffer.from(`${text.interpreter}\0`);
  const isDynamic = entries.length > 0 || needs.length > 0 || defines.length > 0;
  const segments = 1 + (isDynamic ? 1 : 0) + (text.interpreter === undefined ? 0 : 1);
  let at = headerBytes + segments * entryBytes;
  const place = (content: Buffer): number => {
    const start = at;
    at += content.length;
    return start;
  };
  const stringBytes = Buffer.from(strings);
  const interpreterAt = place(interpreter);
  const stringsAt = place(stringBytes);
  const [needsBytes, definesBytes] = [Buffer.concat(needs), Buffer.concat(defines)];
  const needsAt = place(needsBytes);
  const definesAt = place(definesBytes);
  const dynamic = Buffer.concat(
    [
      ...entries,
      ...[[5, base + stringsAt] as const, [10, stringBytes.length] as const],
      ...(needs.length === 0
        ? []
        : [[0x6ffffffe, base + needsAt] as const, [0x6fffffff, needs.length] as const]),
      ...(defines.length === 0
        ? []
        : [[0x6ffffffc, base + definesAt] as const, [0x6ffffffd, defines.length] as const]),
      ...(text.noDefaultDirectories === true ? [[0x6ffffffb, 0x800] as const] : []),
      [0, 0] as const,
    ].flatMap(([tag, value]) => [number(tag, word), number(value, word)]),
  );
  const dynamicAt = place(dynamic);
  const data = Buffer.from(text.data ?? "", "latin1");
  place(data);
  const total = at;

  const segment = (type: number, offset: number, size: number): Buffer =>
    Buffer.concat(
      bits === 64
        ? [
            ...[u32(type), u32(5), number(offset, 8), number(base + offset, 8), number(0, 8)],
            ...[number(size, 8), number(size, 8), number(1, 8)],
          ]
        : [u32(type), u32(offset), u32(base + offset), u32(0), u32(size), u32(size), u32(5), u32(1)],
    );
  const header = Buffer.concat([
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, bits === 64 ? 2 : 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ...[u16(3), u16(text.machine ?? 62), u32(1), number(base, word), number(headerBytes, word)],
    ...[number(0, word), u32(0), u16(headerBytes), u16(entryBytes), u16(segments), u16(0), u16(0), u16(0)],
  ]);
  return Buffer.concat([
    header,
    segment(1, 0, total),
    ...(isDynamic ? [segment(2, dynamicAt, dynamic.length)] : []),
    ...(text.interpreter === undefined ? [] : [segment(3, interpreterAt, interpreter.length)]),
    ...[interpreter, stringBytes, needsBytes, definesBytes, dynamic, data],
  ]);
}

/** A loader of the C library of a distribution that has its libraries in these directories. */
export function writeLoader(directories: readonly string[]): Buffer {
  return writeElf({ data: `\0${directories.map((one) => `${one}/\0`).join("")}\0` });
}

/** /etc/ld.so.cache as ldconfig writes it: paths by name. */
export function writeLoaderCache(paths: readonly (readonly [string, string])[]): Buffer {
  const strings: Buffer[] = [];
  const magic = Buffer.from("glibc-ld.so.cache1.1", "latin1");
  let at = 48 + paths.length * 24;
  const put = (text: string): number => {
    const bytes = Buffer.from(`${text}\0`, "latin1");
    strings.push(bytes);
    at += bytes.length;
    return at - bytes.length;
  };
  const entries = paths.map(([name, path]) => {
    const entry = Buffer.alloc(24);
    entry.writeUInt32LE(0x0303, 0);
    entry.writeUInt32LE(put(name), 4);
    entry.writeUInt32LE(put(path), 8);
    return entry;
  });
  const rest = Buffer.alloc(28);
  rest.writeUInt32LE(paths.length, 0);
  rest.writeUInt32LE(Buffer.concat(strings).length, 4);
  return Buffer.concat([magic, rest, ...entries, ...strings]);
}
