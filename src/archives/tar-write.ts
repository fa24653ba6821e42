// Members as a tar archive (POSIX.1-2017, pax): the same members give the same bytes, without names of users.
import type { LayerMember } from "./layer-tar.ts";
import { block, padding } from "./tar-format.ts";

const typeFlags: Readonly<Record<LayerMember["type"], string>> = {
  ...{ file: "0", hardlink: "1", symlink: "2", char: "3", block: "4", directory: "5", fifo: "6" },
};

/** Largest numbers of the octal fields of 8 and 12 bytes. */
const maxId = 0o7777777;
const maxSize = 0o77777777777;

function header(flag: string, name: Buffer, link: Buffer, one: LayerMember, size: number): Buffer {
  const bytes = Buffer.alloc(block);
  const octal = (value: number, at: number, length: number) =>
    void bytes.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  name.copy(bytes, 0, 0, 100);
  octal(one.mode, 100, 8);
  octal(Math.min(one.uid, maxId), 108, 8);
  octal(Math.min(one.gid, maxId), 116, 8);
  octal(Math.min(size, maxSize), 124, 12);
  octal(one.mtime, 136, 12);
  bytes.write(flag, 156, "latin1");
  link.copy(bytes, 157, 0, 100);
  bytes.write("ustar\x0000", 257, "latin1");
  octal(one.major, 329, 8);
  octal(one.minor, 337, 8);
  bytes.fill(0x20, 148, 156);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return bytes;
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(padding(bytes.length))]);
}

/** A record of an extended header: `LENGTH KEY=VALUE\n`, where the length counts itself. */
export function paxHeaderRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = rest.length + 1;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.concat([Buffer.from(`${length}`), rest]);
}

/** The headers of one member; its content follows, and `tarPadding` after it. */
export function tarMember(one: LayerMember): Buffer {
  const path = Buffer.from(one.type === "directory" ? `${one.path}/` : one.path);
  const target = Buffer.from(one.target);
  const size = one.type === "file" ? one.size : 0;
  const records = [
    ...(path.length > 100 ? [paxHeaderRecord("path", path)] : []),
    ...(target.length > 100 ? [paxHeaderRecord("linkpath", target)] : []),
    ...(one.uid > maxId ? [paxHeaderRecord("uid", Buffer.from(`${one.uid}`))] : []),
    ...(one.gid > maxId ? [paxHeaderRecord("gid", Buffer.from(`${one.gid}`))] : []),
    ...(size > maxSize ? [paxHeaderRecord("size", Buffer.from(`${size}`))] : []),
    ...[...one.xattrs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => paxHeaderRecord(`SCHILY.xattr.${key}`, value)),
  ];
  const own = header(typeFlags[one.type], path, target, one, size);
  if (records.length === 0) return own;
  const more = Buffer.concat(records);
  return Buffer.concat([
    header("x", Buffer.from("extended"), Buffer.alloc(0), { ...one, major: 0, minor: 0 }, more.length),
    padded(more),
    own,
  ]);
}

/** What stands after the content of a member of so many bytes. */
export const tarPadding = (size: number): Buffer => Buffer.alloc(padding(size));

/** What stands at the end of an archive. */
export const tarEnd = Buffer.alloc(2 * block);
