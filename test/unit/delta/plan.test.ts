// Plans against a model: whatever the layers, the pieces make the new layer, and nothing is fetched without need.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { joinRanges, missingRanges, piecesOf } from "../../../src/delta/plan.ts";
import { WantedBlocks } from "../../../src/delta/wanted-blocks.ts";
import { digestOf, hexOf } from "../../../src/oci/digest.ts";

/** The digest of a block with this content. */
const digest = (content: number): Buffer => Buffer.from(hexOf(digestOf(String(content))), "hex");

/** Layers as lists of contents; few different ones, so that there are equal blocks and runs. */
const layer = fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 60 });
const layers = fc.record({ newer: layer, older: fc.array(layer, { maxLength: 3 }) });
const limits = fc.record({
  gapBlocks: fc.integer({ min: 0, max: 3 }),
  ranges: fc.integer({ min: 1, max: 10 }),
});

function search(newer: readonly number[], older: readonly (readonly number[])[]): WantedBlocks {
  const wanted = new WantedBlocks(Buffer.concat(newer.map(digest)));
  older.forEach((contents, number) => {
    contents.forEach((content, block) => {
      wanted.offer(digest(content), number, block);
    });
  });
  return wanted;
}

describe("a plan", () => {
  it("makes the new layer from any block on, and fetches each range whole", () => {
    fc.assert(
      fc.property(layers, limits, fc.nat({ max: 70 }), ({ newer, older }, ownLimits, start) => {
        const first = Math.min(start, newer.length);
        const wanted = search(newer, older);
        const pieces = piecesOf(wanted, joinRanges(missingRanges(wanted), ownLimits), first);
        const made = pieces.flatMap((piece) =>
          piece.kind === "fetch"
            ? newer.slice(piece.start, piece.end)
            : (older[piece.layer] ?? []).slice(piece.from, piece.from + piece.end - piece.start),
        );
        expect(made).toEqual(newer.slice(first));
      }),
    );
  });

  it("fetches only what no older layer has, when gaps are not closed", () => {
    fc.assert(
      fc.property(layers, ({ newer, older }) => {
        const had = new Set(older.flat());
        const wanted = search(newer, older);
        const ranges = joinRanges(missingRanges(wanted), { gapBlocks: 0, ranges: 1000 });
        const fetched = ranges.flatMap(({ start, end }) => newer.slice(start, end));
        expect(fetched).toEqual(newer.filter((content) => !had.has(content)));
        expect(wanted.found).toBe(newer.length - fetched.length);
      }),
    );
  });

  it("asks for no more ranges than it may, and closes gaps as short as it is told", () => {
    fc.assert(
      fc.property(layers, limits, ({ newer, older }, ownLimits) => {
        const ranges = joinRanges(missingRanges(search(newer, older)), ownLimits);
        expect(ranges.length).toBeLessThanOrEqual(ownLimits.ranges);
        ranges.slice(1).forEach(({ start }, i) => {
          expect(start - (ranges[i]?.end ?? 0)).toBeGreaterThan(ownLimits.gapBlocks);
        });
      }),
    );
  });
});
