// Applies a patch while it arrives. What it makes is not trusted, only bounded: never more than the new layer's size,
// never more memory than the limits of patch-format.ts. The store verifies the result as it does any download.
import { once } from "node:events";
import { Readable } from "node:stream";
import { constants, createZstdDecompress } from "node:zlib";
import { MosError } from "../errors/mos-error.ts";
import { blockBytes } from "../layers/superblock.ts";
import { parseVeritySuperblock } from "../layers/verity.ts";
import { leafBytes, SaltedHasher, treeOf } from "../layers/verity-tree.ts";
import { pieceBytes } from "../oci/blob-read.ts";
import type { Descriptor } from "../oci/model.ts";
import { ByteReader } from "./byte-reader.ts";
import { OlderLayer } from "./older-layer.ts";
import {
  dictionaryRuns,
  type Instructions,
  parseInstructions,
  parsePatchHead,
  patchHeadBytes,
  windowLog,
} from "./patch-format.ts";

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
  const literals = unpack(stored.rest(), await readDictionary(old, instructions), about);
  const buffer = Buffer.allocUnsafeSlow(pieceBytes);
  try {
    for (const run of runs) {
      const bytes = run.blocks * blockBytes;
      for (let done = 0; done < bytes; ) {
        const piece = buffer.subarray(0, Math.min(buffer.length, bytes - done));
        if (run.from === "patch") await literals.reader.fill(piece);
        else await old.read(piece, run.from * blockBytes + done);
        leaves.add(piece);
        yield piece;
        done += piece.length;
      }
    }
    await literals.reader.end();
  } finally {
    await literals.close();
  }
  yield veritySuperblock;
  yield treeOf(leaves.digests, salt);
}

async function readDictionary(old: OlderLayer, instructions: Instructions): Promise<Buffer> {
  const runs = dictionaryRuns(instructions);
  const dictionary = Buffer.alloc(runs.reduce((sum, { start, end }) => sum + end - start, 0) * blockBytes);
  let at = 0;
  for (const { start, end } of runs) {
    const part = dictionary.subarray(at, at + (end - start) * blockBytes);
    await old.read(part, start * blockBytes);
    at += part.length;
  }
  return dictionary;
}

/** zstd in a stream: it unpacks no more than is taken. */
function unpack(frame: AsyncIterable<Uint8Array>, dictionary: Buffer, about: string) {
  const packed = Readable.from(frame, { objectMode: false });
  const plain = createZstdDecompress({
    params: { [constants.ZSTD_d_windowLogMax]: windowLog },
    ...(dictionary.length === 0 ? {} : { dictionary }),
  });
  // What goes wrong with the source is what the reader is told. What goes wrong while nobody reads, or after the
  // reader has left, must not end the process: without a listener it would.
  packed.on("error", (error) => plain.destroy(error));
  plain.on("error", () => undefined);
  packed.pipe(plain);
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of plain) if (piece instanceof Uint8Array) yield piece;
    } catch (error) {
      if (error instanceof MosError) throw error;
      throw new MosError("document-invalid", `cannot unpack the patch ${about}: ${String(error)}`, {
        about,
        cause: error,
      });
    }
  };
  const close = async (): Promise<void> => {
    plain.destroy();
    packed.destroy();
    if (!packed.closed) await once(packed, "close").catch(() => undefined);
  };
  return { reader: new ByteReader(pieces(), about), close };
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
