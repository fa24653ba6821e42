// Reading from an older layer. That it cannot be read is no reason to give up the new one, so it is told apart from
// all that can go wrong with what is written.
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { MosError } from "../errors/mos-error.ts";
import { readFully } from "../oci/blob-read.ts";

function unreadable(path: string, cause: unknown): MosError {
  return new MosError("digest-mismatch", `cannot read the older layer ${path}`, { about: path, cause });
}

/** The file of an older layer. */
export class OlderLayer implements AsyncDisposable {
  private readonly handle: FileHandle;
  private readonly path: string;

  private constructor(handle: FileHandle, path: string) {
    this.handle = handle;
    this.path = path;
  }

  /** @throws MosError `digest-mismatch` when it cannot be opened */
  static async open(path: string): Promise<OlderLayer> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(path, flags).catch((error: unknown) => {
      throw unreadable(path, error);
    });
    return new OlderLayer(handle, path);
  }

  /** Bytes that are there. */
  async size(): Promise<number> {
    return (await this.handle.stat()).size;
  }

  /** Fills a buffer from a place in it. @throws MosError `digest-mismatch` when that cannot be read */
  async read(bytes: Buffer, position: number): Promise<void> {
    try {
      await readFully(this.handle, bytes, position, this.path);
    } catch (error) {
      throw unreadable(this.path, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close();
  }
}
