// Unpacking an archive that was verified, and may be hostile all the same: into a new directory of its own, within
// limits, each path once, nothing through a link, and links only among what is in it.
import { constants, createReadStream } from "node:fs";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { createDirectory, createSymlink, openFile } from "../system/durable.ts";
import { linkLeadsInside } from "./links.ts";
import { refuseArchive } from "./tar-format.ts";
import { readTar, type TarMember } from "./tar-stream.ts";

/** How much an archive may be. */
export interface UnpackLimits {
  /** Of all that is unpacked. */
  readonly bytes: number;
  readonly entries: number;
}

const newFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const maxDepth = 64;

/** The archive's bytes, unpacked: gzip (RFC 1952), Zstandard (RFC 8878) or none. */
async function* unpacked(path: string): AsyncGenerator<Uint8Array> {
  const stream = createReadStream(path);
  try {
    const [first = Buffer.alloc(0)] = [await firstBytes(path)];
    const isGzip = first.length >= 2 && first.readUInt16BE(0) === 0x1f8b;
    const isZstd = first.length >= 4 && first.readUInt32LE(0) === 0xfd2fb528;
    const source = isGzip
      ? stream.pipe(createGunzip())
      : isZstd
        ? stream.pipe(createZstdDecompress())
        : stream;
    yield* source;
  } catch (error) {
    const known = asMosError(error);
    if (known.code !== "internal") throw known;
    refuseArchive(`it is damaged: ${known.message}`, path);
  } finally {
    stream.destroy();
  }
}

async function firstBytes(path: string): Promise<Buffer> {
  for await (const piece of createReadStream(path, { end: 3 })) return piece;
  return Buffer.alloc(0);
}

/** What was unpacked so far. */
class Unpacking {
  readonly entries = new Map<string, { readonly type: TarMember["type"]; readonly target?: string }>();
  private readonly directory: string;
  private readonly limits: UnpackLimits;

  constructor(directory: string, limits: UnpackLimits) {
    this.directory = directory;
    this.limits = limits;
  }

  private add(path: string, entry: { readonly type: TarMember["type"]; readonly target?: string }): void {
    if (this.entries.size >= this.limits.entries)
      refuseArchive(`it has more than ${this.limits.entries} entries`);
    this.entries.set(path, entry);
  }

  /** Makes the directories of a path; what is there already has to be one. */
  private async directories(path: string): Promise<void> {
    const names = path.split("/");
    if (names.length > maxDepth)
      refuseArchive(`it has directories more than ${maxDepth} deep`, path.slice(0, 200));
    for (let i = 1; i <= names.length; i++) {
      const one = names.slice(0, i).join("/");
      const known = this.entries.get(one);
      if (known !== undefined && known.type !== "directory")
        refuseArchive("it has a file below what is none", path);
      if (known !== undefined) continue;
      this.add(one, { type: "directory" });
      await createDirectory(`${this.directory}/${one}`, 0o755);
    }
  }

  async member(member: TarMember, content: AsyncIterable<Buffer>): Promise<void> {
    const { path } = member;
    if (member.type === "directory") {
      if (path !== "") await this.directories(path);
      return;
    }
    if (path.includes("/")) await this.directories(path.slice(0, path.lastIndexOf("/")));
    if (this.entries.has(path)) refuseArchive("it has a path twice", path);
    if (member.type === "symlink") {
      this.add(path, { type: "symlink", target: member.target });
      return;
    }
    if (member.size > this.limits.bytes)
      refuseArchive(`it unpacks to more than ${this.limits.bytes} bytes`, path);
    this.add(path, { type: "file" });
    await using file = await openFile(
      `${this.directory}/${path}`,
      newFile,
      member.isExecutable ? 0o755 : 0o644,
    );
    for await (const piece of content) await file.writeFile(piece);
  }

  /** Links come last: no path that was written could go through one. */
  async links(): Promise<void> {
    const known = new Map([...this.entries].map(([path, entry]) => [path, entry]));
    for (const [path, { type, target }] of this.entries) {
      if (type !== "symlink" || target === undefined) continue;
      if (!linkLeadsInside(path, known))
        refuseArchive("it has a link that leads out of it, or to nothing", path);
      await createSymlink(target, `${this.directory}/${path}`);
    }
  }
}

/**
 * Unpacks a tar archive, plain or packed with gzip or zstd. Nothing is made durable.
 * @param directory must not exist; it is there afterwards, in part when this throws
 * @returns how many entries there were
 * @throws MosError `archive-refused`, `no-space`, `io-failed`
 */
export async function unpack(archive: string, directory: string, limits: UnpackLimits): Promise<number> {
  await createDirectory(directory, 0o700);
  const unpacking = new Unpacking(directory, limits);
  // Headers and padding are part of what is read: two blocks for each entry, and a little.
  const read = limits.bytes + limits.entries * 2048 + 1024 * 1024;
  try {
    await readTar(unpacked(archive), read, (member, content) => unpacking.member(member, content));
    await unpacking.links();
  } catch (error) {
    throw error instanceof MosError ? error : asMosError(error, archive);
  }
  return unpacking.entries.size;
}
