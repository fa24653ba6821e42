// Files to be added to an initrd: an archive in the kernel's "newc" format (Documentation/driver-api/early-userspace/
// buffer-format.rst), which may follow any other archive, compressed or not. The same input gives the same bytes.

export interface InitrdFile {
  /** Without a leading slash. */
  readonly path: string;
  readonly content: Uint8Array;
  /** Permission bits. */
  readonly mode: number;
}

const directoryType = 0o040000;
const fileType = 0o100000;
const typeMask = 0o170000;
const trailer = "TRAILER!!!";

function pad(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

function entry(inode: number, path: string, mode: number, content: Uint8Array): Buffer {
  const name = Buffer.from(`${path}\0`);
  const isDirectory = (mode & typeMask) === directoryType;
  const fields = [
    ...[inode, mode, 0, 0, isDirectory ? 2 : 1, 0, content.length],
    // Device numbers, of the file and of what it stands for.
    ...[0, 0, 0, 0],
    ...[name.length, 0],
  ];
  const header = Buffer.from(`070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}`);
  return Buffer.concat([header, name, pad(header.length + name.length), content, pad(content.length)]);
}

function directoriesOf(paths: readonly string[]): string[] {
  const directories = paths.flatMap((path) => {
    const parts = path.split("/").slice(0, -1);
    return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
  });
  return [...new Set(directories)].sort();
}

/** The archive of these files and the directories above them, owned by root, without times. */
export function initrdArchive(files: readonly InitrdFile[]): Uint8Array {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const directories = directoriesOf(sorted.map(({ path }) => path));
  const parts = [
    ...directories.map((path, i) => entry(i + 1, path, directoryType | 0o755, new Uint8Array())),
    ...sorted.map(({ path, mode, content }, i) =>
      entry(directories.length + i + 1, path, fileType | mode, content),
    ),
    entry(0, trailer, 0, new Uint8Array()),
  ];
  return Uint8Array.from(Buffer.concat(parts));
}
