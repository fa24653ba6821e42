// The bytes of a new layer, put together: blocks of older layers, blocks that are fetched, each checked against its
// digest in the authenticated tree, and the tree itself. For the store it looks like any other download.
import { MosError } from "../errors/mos-error.ts";
import { blockBytes } from "../layers/superblock.ts";
import { SaltedHasher } from "../layers/verity-tree.ts";
import { pieceBytes } from "../oci/blob-read.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import type { BlockPlan } from "./block-plan.ts";
import { OlderLayer } from "./older-layer.ts";
import { type Piece, piecesOf } from "./plan.ts";
import { readRanges } from "./read-ranges.ts";
import type { WantedBlocks } from "./wanted-blocks.ts";

interface Places {
  readonly store: Layout;
  readonly images: Pick<Repository, "name" | "blobRange">;
  readonly olderLayers: readonly Descriptor[];
}

/**
 * The bytes of a layer from `offset` on.
 * @throws MosError `digest-mismatch` when other bytes came than the tree names; what fetching and reading throw
 */
export async function* readByBlocks(
  places: Places,
  layer: Descriptor,
  plan: BlockPlan,
  offset: number,
): AsyncGenerator<Uint8Array> {
  const { wanted, head, tail } = plan;
  const hashOffset = wanted.count * blockBytes;
  const rest = (at: number, bytes: Uint8Array): Uint8Array => bytes.subarray(Math.max(0, offset - at));
  if (offset < blockBytes) {
    checkBlocks(places, layer, plan, 0, head);
    yield rest(0, head);
  }
  const first = Math.max(1, Math.floor(offset / blockBytes));
  if (first < wanted.count) {
    const pieces = piecesOf(wanted, plan.fetched, first);
    for await (const { at, bytes } of readPieces(places, layer, plan, pieces)) yield rest(at, bytes);
  }
  if (offset < layer.size) yield rest(hashOffset, tail);
}

async function* readPieces(
  places: Places,
  layer: Descriptor,
  plan: BlockPlan,
  pieces: readonly Piece[],
): AsyncGenerator<{ readonly at: number; readonly bytes: Uint8Array }> {
  const toFetch = pieces
    .filter(({ kind }) => kind === "fetch")
    .map(({ start, end }) => ({ start: start * blockBytes, end: end * blockBytes }));
  const fetched = readRanges(places.images, layer, toFetch);
  const local = new LocalReader(places);
  try {
    for (const piece of pieces) {
      if (piece.kind === "local") {
        yield* local.read(piece);
        continue;
      }
      for (let at = piece.start * blockBytes; at < piece.end * blockBytes; ) {
        const next = await fetched.next();
        if (next.done === true) throw new MosError("internal", "a range was not fetched");
        checkBlocks(places, layer, plan, at / blockBytes, next.value.bytes);
        yield { at, bytes: next.value.bytes };
        at += next.value.bytes.length;
      }
    }
  } finally {
    await fetched.return(undefined);
    await local.close();
  }
}

/** Checks blocks that came from outside. */
function checkBlocks(
  { images }: Places,
  { digest }: Descriptor,
  { wanted, salt }: { readonly wanted: WantedBlocks; readonly salt: Uint8Array },
  first: number,
  bytes: Uint8Array,
): void {
  const hasher = new SaltedHasher(salt);
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const block = first + at / blockBytes;
    if (hasher.digest(bytes.subarray(at, at + blockBytes)).equals(wanted.leaf(block))) continue;
    throw new MosError(
      "digest-mismatch",
      `${images.name} sent other bytes for block ${block} of ${digest} than its verity tree names`,
      { about: digest },
    );
  }
}

/** Reads runs of blocks from older layers, each file opened once. */
class LocalReader {
  private readonly places: Places;
  private readonly open = new Map<number, OlderLayer>();
  private readonly buffer = Buffer.allocUnsafeSlow(pieceBytes);

  constructor(places: Places) {
    this.places = places;
  }

  async *read(
    piece: Piece & { readonly kind: "local" },
  ): AsyncGenerator<{ readonly at: number; readonly bytes: Uint8Array }> {
    const file = await this.file(piece.layer);
    const total = (piece.end - piece.start) * blockBytes;
    for (let done = 0; done < total; done += this.buffer.length) {
      const bytes = this.buffer.subarray(0, Math.min(this.buffer.length, total - done));
      await file.read(bytes, piece.from * blockBytes + done);
      yield { at: piece.start * blockBytes + done, bytes };
    }
  }

  private async file(number: number): Promise<OlderLayer> {
    const there = this.open.get(number);
    if (there !== undefined) return there;
    const layer = this.places.olderLayers[number];
    if (layer === undefined) throw new MosError("internal", `there is no older layer ${number}`);
    const file = await OlderLayer.open(this.places.store.blobPath(layer.digest));
    this.open.set(number, file);
    return file;
  }

  async close(): Promise<void> {
    for (const file of this.open.values()) await file[Symbol.asyncDispose]();
  }
}
