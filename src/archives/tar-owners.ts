// A tar archive with other numbers of owners and everything else as it is: between the ids that a service sees and those
// of the host (DESIGN: nsgroups). Works on what GNU tar writes with --format=pax --numeric-owner. Pure.
import { block, padding, paxRecords, paxSize, refuseArchive, TarBytes, tarHeader } from "./tar-format.ts";
import { paxHeaderRecord } from "./tar-write.ts";

/** An extended header of one file: attributes and long names. */
const maxExtended = 1024 * 1024;
/** Largest number of an octal field of 8 bytes. */
const maxId = 0o7777777;

/** The id that stands for one, undefined where there is none. */
export type IdOf = (id: number) => number | undefined;

function mapped(id: number, idOf: IdOf): number {
  const other = idOf(id);
  if (other === undefined) refuseArchive(`a file in it belongs to ${id}, which is nobody of its nsgroup`);
  return other;
}

/** A header with other owners and no names of them, which the other side may not have. */
function withOwners(bytes: Buffer, uid: number, gid: number): Buffer {
  const out = Buffer.from(bytes);
  const octal = (value: number, at: number) =>
    void out.write(`${Math.min(value, maxId).toString(8).padStart(7, "0")}\0`, at, "latin1");
  octal(uid, 108);
  octal(gid, 116);
  // uname, gname (pax, "ustar Interchange Format").
  out.fill(0, 265, 329);
  out.fill(0x20, 148, 156);
  const sum = out.reduce((total, byte) => total + byte, 0);
  out.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return out;
}

/** What stands before a member: its extended header, if it has one, and that of long names. */
interface Before {
  readonly header: Buffer | undefined;
  readonly records: readonly { readonly key: string; readonly value: Buffer }[];
  readonly names: readonly Buffer[];
}

function extendedHeader(
  template: Buffer | undefined,
  own: Buffer,
  before: Before,
  uid: number,
  gid: number,
): Buffer {
  const large = [
    ...(uid > maxId ? [paxHeaderRecord("uid", Buffer.from(`${uid}`))] : []),
    ...(gid > maxId ? [paxHeaderRecord("gid", Buffer.from(`${gid}`))] : []),
  ];
  const kept = before.records
    .filter(({ key }) => !["uid", "gid", "uname", "gname"].includes(key))
    .map(({ key, value }) => paxHeaderRecord(key, value));
  const content = Buffer.concat([...kept, ...large]);
  if (content.length === 0) return Buffer.alloc(0);
  const header = Buffer.from(template ?? own);
  header.write("x", 156, "latin1");
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  return Buffer.concat([withOwners(header, 0, 0), content, Buffer.alloc(padding(content.length))]);
}

/**
 * The archive with other owners.
 * @param limit bytes that it may have
 * @throws MosError `archive-refused`, also for an owner that stands for nobody
 */
export async function* mapOwners(
  pieces: AsyncIterable<Uint8Array>,
  limit: number,
  idOf: IdOf,
): AsyncGenerator<Uint8Array> {
  const source = new TarBytes(pieces, limit);
  let before: Before = { header: undefined, records: [], names: [] };
  for (;;) {
    const bytes = await source.take(block);
    if (bytes.every((byte) => byte === 0)) break;
    const found = tarHeader(bytes);
    if (["x", "L", "K", "g"].includes(found.type)) {
      if (found.size > maxExtended) refuseArchive("an extended header in it is too long");
      const content = await source.take(found.size);
      const rest = await source.take(padding(found.size));
      if (found.type === "g") refuseArchive("it says something of all members at once");
      before =
        found.type === "x"
          ? { ...before, header: bytes, records: [...before.records, ...paxRecords(content)] }
          : { ...before, names: [...before.names, Buffer.concat([bytes, content, rest])] };
      continue;
    }
    const said = (key: string) => before.records.findLast((record) => record.key === key)?.value;
    const id = (key: "uid" | "gid") => {
      const value = said(key);
      return mapped(value === undefined ? found[key] : paxSize(value), idOf);
    };
    const [uid, gid] = [id("uid"), id("gid")];
    for (const name of before.names) yield name;
    yield extendedHeader(before.header, bytes, before, uid, gid);
    yield withOwners(bytes, uid, gid);
    const size = said("size");
    const length = size === undefined ? found.size : paxSize(size);
    const isStored = !["1", "2", "3", "4", "5", "6"].includes(found.type);
    if (isStored) {
      yield* source.upTo(length);
      yield await source.take(padding(length));
    }
    before = { header: undefined, records: [], names: [] };
  }
  await source.readToTheEnd();
  yield Buffer.alloc(2 * block);
}
