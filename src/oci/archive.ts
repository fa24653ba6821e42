// A tar archive of an OCI layout, read where it is: one file on a stick updates a device without a network. Its members
// are looked up once. No descriptor stays open between two reads, so that the stick can be pulled; that the file is
// still the same one is seen at each read.
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from "node:fs";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { pieceBytes, pieceCopied } from "./blob-read.ts";
import { type LayoutFiles, LayoutReader } from "./layout-read.ts";
import { onlyTag } from "./reference.ts";
import type { FetchedManifest } from "./source.ts";
import { indexTar, type Member } from "./tar-index.ts";

/** O_NONBLOCK: a FIFO must not make us wait; it is refused as not a regular file. */
const flags = constants.O_RDONLY | constants.O_NONBLOCK;

/** What stays the same as long as nobody writes to the file. */
type Identity = Pick<Stats, "dev" | "ino" | "size" | "mtimeMs">;

class ArchiveFiles implements LayoutFiles {
  private readonly path: string;
  private readonly identity: Identity;
  private readonly members: ReadonlyMap<string, Member>;

  constructor(path: string) {
    this.path = path;
    [this.identity, this.members] = this.withFile((fd) => {
      const stat = fstatSync(fd);
      if (!stat.isFile())
        throw new MosError("archive-invalid", `${path} is not a regular file`, { about: path });
      return [stat, indexTar(stat.size, (offset, length) => readAt(fd, offset, length), path)];
    });
  }

  pathOf(name: string): string {
    return `${name} in ${this.path}`;
  }

  sizeOf(name: string): number | undefined {
    return this.members.get(name)?.size;
  }

  small(name: string, limit: number): Uint8Array {
    const { offset, size } = this.member(name);
    if (size > limit) {
      throw new MosError("too-large", `${this.pathOf(name)} has ${size} bytes; the limit is ${limit}`, {
        about: this.path,
      });
    }
    return this.withFile((fd) => {
      this.checkSame(fstatSync(fd));
      return readAt(fd, offset, size);
    });
  }

  async *pieces(name: string, size: number, from: number): AsyncGenerator<Uint8Array, void, unknown> {
    const member = this.member(name);
    if (member.size !== size) {
      throw new MosError(
        "size-mismatch",
        `${this.pathOf(name)} has ${member.size} bytes, not the ${size} that were declared`,
        { about: this.path },
      );
    }
    const handle = await open(this.path, flags).catch((error: unknown) => {
      throw openFailed(error, this.path);
    });
    try {
      this.checkSame(await handle.stat());
      let buffer = Buffer.allocUnsafeSlow(pieceBytes);
      for (let at = from; at < size; ) {
        const length = Math.min(buffer.length, size - at);
        const { bytesRead } = await handle.read(buffer, 0, length, member.offset + at);
        if (bytesRead === 0) throw changed(this.path);
        at += bytesRead;
        const isCopied = (yield buffer.subarray(0, bytesRead)) === pieceCopied;
        if (!isCopied) buffer = Buffer.allocUnsafeSlow(pieceBytes);
      }
      // What was read while somebody wrote is of no use, whatever it is.
      this.checkSame(await handle.stat());
    } catch (error) {
      throw asMosError(error, this.path);
    } finally {
      await handle.close();
    }
  }

  private member(name: string): Member {
    const member = this.members.get(name);
    if (member !== undefined) return member;
    throw new MosError("not-found", `there is no ${this.pathOf(name)}`, { about: this.path });
  }

  private checkSame({ dev, ino, size, mtimeMs }: Stats): void {
    const { identity } = this;
    const isSame =
      dev === identity.dev && ino === identity.ino && size === identity.size && mtimeMs === identity.mtimeMs;
    if (!isSame) throw changed(this.path);
  }

  private withFile<T>(use: (fd: number) => T): T {
    let fd: number;
    try {
      fd = openSync(this.path, flags);
    } catch (error) {
      throw openFailed(error, this.path);
    }
    try {
      return use(fd);
    } catch (error) {
      throw asMosError(error, this.path);
    } finally {
      closeSync(fd);
    }
  }
}

function openFailed(error: unknown, path: string): MosError {
  if (systemCode(error) !== "ENOENT") return asMosError(error, path);
  return new MosError("not-found", `there is no ${path}`, { about: path, cause: error });
}

function changed(path: string): MosError {
  return new MosError("archive-invalid", `the archive ${path} was changed while it was read`, {
    about: path,
    hint: "Wait until it is written whole, then try again.",
  });
}

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let at = 0;
  while (at < length) {
    const read = readSync(fd, bytes, at, length - at, offset + at);
    if (read === 0) break;
    at += read;
  }
  return bytes.subarray(0, at);
}

/** The source `oci-archive:FILE`. The file is opened when it is first used. */
export class Archive extends LayoutReader {
  readonly name: string;
  private readonly path: string;
  private opened: ArchiveFiles | undefined;

  constructor(path: string) {
    super();
    this.path = resolve(path);
    this.name = `oci-archive:${path}`;
  }

  protected get files(): LayoutFiles {
    if (this.opened !== undefined) return this.opened;
    this.opened = new ArchiveFiles(this.path);
    try {
      this.checkVersion();
    } catch (error) {
      this.opened = undefined;
      throw error;
    }
    return this.opened;
  }

  override async manifest(reference: string): Promise<FetchedManifest> {
    return await super.manifest(reference === onlyTag ? this.onlyName() : reference);
  }

  /** @throws MosError `not-found` when there are several names, or none */
  private onlyName(): string {
    const names = this.names();
    const [name, ...more] = names;
    if (name !== undefined && more.length === 0) return name;
    throw new MosError(
      "not-found",
      name === undefined
        ? `there is no tag in ${this.path}`
        : `${this.path} has several tags: ${names.slice(0, 10).join(", ")}`,
      { about: this.path, hint: `Say which one is meant: oci-archive:${this.path}:TAG` },
    );
  }
}
