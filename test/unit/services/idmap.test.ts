import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { allocateRanges, type IdMaps, type IdRange, rangeLength } from "../../../src/services/idmap.ts";

function allocated(result: ReturnType<typeof allocateRanges>): IdMaps {
  if ("exhausted" in result) throw new Error(`exhausted by ${result.exhausted}`);
  return result.maps;
}

const group = fc.string({ minLength: 1, maxLength: 8 });
const reserved = fc.array(
  fc.record({ first: fc.integer({ min: 0, max: 3_000_000 }), length: fc.integer({ min: 1, max: 300_000 }) }),
  { maxLength: 8 },
);

function overlaps(a: IdRange, b: IdRange): boolean {
  return a.first < b.first + b.length && b.first < a.first + a.length;
}

describe("allocation of uid ranges", () => {
  it("gives the first group the range that the published system gives it", () => {
    expect(allocated(allocateRanges(new Map(), ["zot"])).get("zot")).toBe(100_000);
  });

  it("never gives two groups overlapping ranges, nor a range that others own, over any sequence of requests", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(group, { maxLength: 6 }), { maxLength: 12 }),
        reserved,
        (requests, others) => {
          let maps: IdMaps = new Map();
          for (const groups of requests) {
            const next = allocated(allocateRanges(maps, groups, others));
            for (const [name, first] of maps) expect(next.get(name)).toBe(first);
            for (const name of groups) expect(next.has(name)).toBe(true);
            maps = next;
          }
          const ranges = [...maps.values()].map((first) => ({ first, length: rangeLength }));
          for (const [i, a] of ranges.entries()) {
            for (const b of ranges.slice(i + 1)) expect(overlaps(a, b)).toBe(false);
            for (const b of others) expect(overlaps(a, b)).toBe(false);
          }
        },
      ),
    );
  });

  it("names the group that finds no room", () => {
    const everything = [{ first: 0, length: 2 ** 31 }];
    expect(allocateRanges(new Map(), ["late"], everything)).toEqual({ exhausted: "late" });
  });
});
