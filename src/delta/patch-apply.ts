// Applies a patch while it arrives. What it makes is not trusted, only bounded: never more than the new layer's size,
// never more memory than the limits of patch-format.ts. The store verifies the result as it does any download.
import { promisify } from "node:util";
import { constants, type ZstdOptions, zstdDecompress } from "node:zlib";
import { MosError } from "../errors/mos-error.ts";
import { blockBytes } from "../layers/superblock.ts";
import { parseVeritySuperblock } from "../layers/verity.ts";
import { leafBytes, SaltedHasher, treeOf } from "../layers/verity-tree.ts";
import { pieceBytes } from "../oci/blob-read.ts";
import type { Descriptor } from "../oci/model.ts";
import { ByteReader } from "./byte-reader.ts";
import { OlderLayer } from "./older-layer.ts";
import {
  type Instructions,
  parseInstructions,
  parsePatchHead,
  patchHeadBytes,
  type Section,
  someBlocks,
  uncopiedBlocks,
  windowLog,
} from "./patch-format.ts";

const unpack = promisify<Uint8Array, ZstdOptions, Buffer>(zstdDecompress);

interface PatchInput {
  /** The patch as it arrives, in pieces. */
  readonly patch: AsyncIterable<Uint8Array>;
  /** For messages. */
  readonly about: string;
  readonly from: Pick<Descriptor, "size">;
  /** The file of the older layer. */
  readonly fromPath: string;
  readonly to: Pick<Descriptor, "size">;
}

/**
 * The bytes of the new layer.
 * @throws MosError `document-invalid` when it is no patch between these layers; what `patch` throws; `verity-missing`
 * or `verity-mismatch` when the superblock in it is none
 */
export async function* applyPatch(input: PatchInput): AsyncGenerator<Uint8Array> {
  const stored = new ByteReader(input.patch, input.about);
  try {
    yield* apply(stored, input);
  } finally {
    await stored.close();
  }
}

async function* apply(
  stored: ByteReader,
  { about, from, fromPath, to }: PatchInput,
): AsyncGenerator<Uint8Array> {
  const length = parsePatchHead(await stored.take(patchHeadBytes), about);
  const instructions = parseInstructions(await stored.take(length), from, to, about);
  const { runs, veritySuperblock } = instructions;
  const { salt } = parseVeritySuperblock(veritySuperblock, about);
  const leaves = new Leaves(
    runs.reduce((sum, { blocks }) => sum + blocks, 0),
    salt,
  );
  await using old = await OlderLayer.open(fromPath);
  const own = new OwnBlocks(stored, old, instructions, about);
  const buffer = Buffer.allocUnsafeSlow(pieceBytes);
  for (const run of runs) {
    const bytes = run.blocks * blockBytes;
    for (let done = 0; done < bytes; ) {
      const piece = buffer.subarray(0, Math.min(buffer.length, bytes - done));
      if (run.from === "patch") await own.read(piece);
      else await old.read(piece, run.from * blockBytes + done);
      leaves.add(piece);
      yield piece;
      done += piece.length;
    }
  }
  await stored.end();
  yield veritySuperblock;
  yield treeOf(leaves.digests, salt);
}

/** The patch's own blocks, unpacked one section after another. */
class OwnBlocks {
  private readonly stored: ByteReader;
  private readonly old: OlderLayer;
  private readonly sections: Iterator<Section>;
  private readonly uncopied: ReturnType<typeof uncopiedBlocks>;
  private readonly about: string;
  private section: Buffer = Buffer.alloc(0);

  constructor(stored: ByteReader, old: OlderLayer, instructions: Instructions, about: string) {
    this.stored = stored;
    this.old = old;
    this.sections = instructions.sections[Symbol.iterator]();
    this.uncopied = uncopiedBlocks(instructions);
    this.about = about;
  }

  /** Fills a buffer with the next bytes. */
  async read(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (this.section.length === 0) await this.next();
      const part = this.section.subarray(0, bytes.length - at);
      bytes.set(part, at);
      at += part.length;
      this.section = this.section.subarray(part.length);
    }
  }

  private async next(): Promise<void> {
    const next = this.sections.next();
    if (next.done === true) throw new MosError("internal", "a patch has fewer sections than were counted");
    const { blocks, dictionaryStart, dictionaryBlocks, packedBytes } = next.value;
    const dictionary = await this.readOld(someBlocks(this.uncopied, dictionaryStart, dictionaryBlocks));
    const bytes = blocks * blockBytes;
    let plain: Buffer;
    const packed = await this.stored.take(packedBytes);
    try {
      plain = await unpack(packed, {
        params: { [constants.ZSTD_d_windowLogMax]: windowLog },
        maxOutputLength: bytes,
        ...(dictionary.length === 0 ? {} : { dictionary }),
      });
    } catch (error) {
      throw this.invalid(`it cannot be unpacked (${String(error)})`);
    }
    if (plain.length !== bytes) throw this.invalid("it unpacks to less than it says");
    this.section = plain;
  }

  private async readOld(
    ranges: readonly { readonly start: number; readonly end: number }[],
  ): Promise<Buffer> {
    const bytes = Buffer.allocUnsafeSlow(
      ranges.reduce((sum, { start, end }) => sum + end - start, 0) * blockBytes,
    );
    let at = 0;
    for (const { start, end } of ranges) {
      const part = bytes.subarray(at, at + (end - start) * blockBytes);
      await this.old.read(part, start * blockBytes);
      at += part.length;
    }
    return bytes;
  }

  private invalid(what: string): MosError {
    return new MosError("document-invalid", `cannot use the patch ${this.about}: ${what}`, {
      about: this.about,
    });
  }
}

/** The digests of data blocks as they pass. */
class Leaves {
  readonly digests: Uint8Array;
  private readonly hasher: SaltedHasher;
  private at = 0;

  constructor(blocks: number, salt: Uint8Array) {
    this.digests = new Uint8Array(blocks * leafBytes);
    this.hasher = new SaltedHasher(salt);
  }

  add(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; at += blockBytes) {
      this.digests.set(this.hasher.digest(piece.subarray(at, at + blockBytes)), this.at);
      this.at += leafBytes;
    }
  }
}
