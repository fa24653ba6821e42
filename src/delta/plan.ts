// In which pieces a new layer is put together: runs of blocks from older layers, and ranges to fetch. Pure.
import { blockBytes } from "../layers/superblock.ts";
import { missing, type WantedBlocks } from "./wanted-blocks.ts";

/** Blocks `start` to `end` (not included) of the new layer. */
export interface BlockRange {
  readonly start: number;
  readonly end: number;
}

/** A range that is fetched, or that is in an older layer from block `from` on. */
export type Piece = BlockRange &
  ({ readonly kind: "fetch" } | { readonly kind: "local"; readonly layer: number; readonly from: number });

export interface PlanLimits {
  /** Blocks that are had but fetched all the same, when that saves a request. */
  readonly gapBlocks: number;
  /** Ranges that are fetched at most; more gaps are closed to keep it, the smallest first. */
  readonly ranges: number;
}

/**
 * A request costs about half a kilobyte of headers and its share of a round trip, of which several are under way at
 * once: two blocks are cheaper than another request on everything but a line that is paid by the byte.
 */
export const defaultPlanLimits: PlanLimits = { gapBlocks: 2, ranges: 2000 };

/** The runs of blocks that no older layer has, in order. */
export function missingRanges(wanted: WantedBlocks): BlockRange[] {
  const ranges: BlockRange[] = [];
  for (let block = 0; block < wanted.count; block++) {
    if (wanted.layerOf(block) !== missing) continue;
    const start = block;
    while (block + 1 < wanted.count && wanted.layerOf(block + 1) === missing) block++;
    ranges.push({ start, end: block + 1 });
  }
  return ranges;
}

/** Joins ranges over short gaps, and over the shortest of the others until there are few enough. */
export function joinRanges(ranges: readonly BlockRange[], limits: PlanLimits): BlockRange[] {
  const gaps = ranges
    .slice(1)
    .map(({ start }, i) => start - (ranges[i]?.end ?? start))
    .toSorted((a, b) => a - b);
  const tooMany = ranges.length - limits.ranges;
  // Gaps of equal length are all closed: some ranges fewer than there could be do no harm.
  const closed = Math.max(limits.gapBlocks, tooMany > 0 ? (gaps[tooMany - 1] ?? 0) : 0);
  const joined: BlockRange[] = [];
  for (const range of ranges) {
    const last = joined.at(-1);
    if (last !== undefined && range.start - last.end <= closed) {
      joined[joined.length - 1] = { start: last.start, end: range.end };
    } else joined.push(range);
  }
  return joined;
}

/** All of the new layer's blocks from `first` on, in order. */
export function piecesOf(wanted: WantedBlocks, fetched: readonly BlockRange[], first = 0): Piece[] {
  const pieces: Piece[] = [];
  let at = first;
  for (const { start, end } of [...fetched, { start: wanted.count, end: wanted.count }]) {
    if (end <= at && end < wanted.count) continue;
    while (at < start) {
      const piece = localRun(wanted, at, start);
      pieces.push(piece);
      at = piece.end;
    }
    if (at < end) pieces.push({ kind: "fetch", start: at, end });
    at = Math.max(at, end);
  }
  return pieces;
}

/** The longest run from `start` on that is also a run in one older layer. */
function localRun(wanted: WantedBlocks, start: number, limit: number): Piece {
  const layer = wanted.layerOf(start);
  const from = wanted.oldBlockOf(start);
  let end = start + 1;
  while (end < limit && wanted.layerOf(end) === layer && wanted.oldBlockOf(end) === from + end - start) {
    end++;
  }
  return { kind: "local", start, end, layer, from };
}

/** Bytes of ranges. */
export function bytesOf(ranges: readonly BlockRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + (end - start) * blockBytes, 0);
}
