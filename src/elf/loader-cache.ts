// /etc/ld.so.cache: where ldconfig found each library, by name (glibc, sysdeps/generic/dl-cache.h: "new" format,
// behind an "old" one where glibc is older than 2.32). It is all that the loader knows of /etc/ld.so.conf.
import { FieldReader } from "../efi/little-endian.ts";
import { MosError } from "../errors/mos-error.ts";

const oldMagic = "ld.so-1.7.0\0";
const newMagic = "glibc-ld.so.cache1.1";
const what = "the cache";
/** A desktop's has some ten thousand. */
const maxLibraries = 200_000;
const maxNameBytes = 4096;
/** dl-cache.h: the entry is for processors of some kinds only; a library that all can use has an entry besides. */
const isForSomeProcessors = (hwcap: readonly [number, number]): boolean => hwcap[0] !== 0 || hwcap[1] !== 0;

function newPart(bytes: Uint8Array): Uint8Array {
  const starts = (magic: string): boolean =>
    Buffer.from(bytes.subarray(0, magic.length)).toString("latin1") === magic;
  if (!starts(oldMagic)) return bytes;
  const reader = new FieldReader(bytes);
  reader.take(oldMagic.length, what);
  const size = 16 + reader.u32(what) * 12;
  return bytes.subarray(Math.ceil(size / 8) * 8);
}

function parse(whole: Uint8Array): Map<string, string[]> {
  const bytes = newPart(whole);
  const reader = new FieldReader(bytes);
  if (Buffer.from(reader.take(newMagic.length, what)).toString("latin1") !== newMagic)
    throw new SyntaxError("it is of an unknown format");
  const count = reader.u32(what);
  if (count > maxLibraries) throw new SyntaxError(`it has ${count} entries`);
  reader.take(24, what);
  const text = (offset: number): string => {
    const end = offset < bytes.length ? bytes.indexOf(0, offset) : -1;
    if (end < 0 || end - offset > maxNameBytes) throw new SyntaxError("a name in it has no end");
    return Buffer.from(bytes.subarray(offset, end)).toString("latin1");
  };
  const paths = new Map<string, string[]>();
  for (let i = 0; i < count; i++) {
    reader.u32(what); // flags: what kind of file; the file itself says so too
    const [name, path] = [text(reader.u32(what)), text(reader.u32(what))];
    reader.u32(what); // osversion
    if (isForSomeProcessors([reader.u32(what), reader.u32(what)])) continue;
    const others = paths.get(name);
    if (others === undefined) paths.set(name, [path]);
    else others.push(path);
  }
  return paths;
}

/**
 * Paths of each library, by its name, in the order of the cache.
 * @param about the file, for messages
 * @throws MosError `program-malformed`
 */
export function parseLoaderCache(bytes: Uint8Array, about: string): ReadonlyMap<string, readonly string[]> {
  try {
    return parse(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError("program-malformed", `cannot read the loader's cache ${about}: ${error.message}`, {
      about,
      hint: "Run ldconfig in that root.",
      cause: error,
    });
  }
}
