// Takes bytes in the amounts that are asked for from a source that gives them as it likes.
import { MosError } from "../errors/mos-error.ts";

export class ByteReader {
  private readonly pieces: AsyncIterator<Uint8Array>;
  private readonly about: string;
  private piece: Uint8Array = new Uint8Array();

  constructor(source: AsyncIterable<Uint8Array>, about: string) {
    this.pieces = source[Symbol.asyncIterator]();
    this.about = about;
  }

  /** So many bytes. @throws MosError `document-invalid` when there are fewer */
  async take(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    await this.fill(bytes);
    return bytes;
  }

  /** Fills a buffer. @throws MosError `document-invalid` when there are fewer bytes */
  async fill(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (!(await this.more())) {
        throw new MosError("document-invalid", `cannot use the patch ${this.about}: it is cut off`, {
          about: this.about,
        });
      }
      const part = this.piece.subarray(0, bytes.length - at);
      bytes.set(part, at);
      at += part.length;
      this.piece = this.piece.subarray(part.length);
    }
  }

  /** Checks that nothing is left. @throws MosError `document-invalid` */
  async end(): Promise<void> {
    if (!(await this.more())) return;
    throw new MosError(
      "document-invalid",
      `cannot use the patch ${this.about}: there is more in it than it says`,
      {
        about: this.about,
      },
    );
  }

  /** Ends the source. */
  async close(): Promise<void> {
    await this.pieces.return?.();
  }

  /** Whether there is at least one byte. */
  private async more(): Promise<boolean> {
    while (this.piece.length === 0) {
      const next = await this.pieces.next();
      if (next.done === true) return false;
      this.piece = next.value;
    }
    return true;
  }
}
