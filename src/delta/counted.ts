// A repository that counts what is fetched from it.
import { pieceCopied } from "../oci/blob-read.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";

/** Wraps the two ways in which bytes of layers come. */
export class CountedBlobs implements Pick<Repository, "name" | "blob" | "blobRange" | "distrust"> {
  readonly name: string;
  /** Bytes that were received, of no matter what use. */
  bytes = 0;
  private readonly images: Repository;

  constructor(images: Repository) {
    this.images = images;
    this.name = images.name;
  }

  async *blob(descriptor: Descriptor, offset?: number): AsyncGenerator<Uint8Array, void, unknown> {
    const pieces = this.images.blob(descriptor, offset)[Symbol.asyncIterator]();
    try {
      for (let piece = await pieces.next(); piece.done !== true; ) {
        this.bytes += piece.value.length;
        // The reader's word about the memory of a piece is passed on.
        const isCopied = (yield piece.value) === pieceCopied;
        piece = await pieces.next(isCopied ? pieceCopied : undefined);
      }
    } finally {
      await pieces.return?.();
    }
  }

  async blobRange(descriptor: Descriptor, start: number, end: number): Promise<Uint8Array> {
    const bytes = await this.images.blobRange(descriptor, start, end);
    this.bytes += bytes.length;
    return bytes;
  }

  distrust(descriptor: Descriptor): boolean {
    return this.images.distrust?.(descriptor) === true;
  }
}
