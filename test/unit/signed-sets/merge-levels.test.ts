// The merge of levels, and for whom they are.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { audienceSchema, rankOf } from "../../../src/signed-sets/audience.ts";
import { levelName } from "../../../src/signed-sets/level-name.ts";
import { mergeLevels, providedBy, type RankedLevel } from "../../../src/signed-sets/merge-levels.ts";
import {
  parentOf,
  parseSetManifest,
  type SetEntry,
  writeSetManifest,
} from "../../../src/signed-sets/set-manifest.ts";
import { everybody, m1, ofClass, ofMachine } from "./level-fixture.ts";

const owned = { mode: "0644", uid: 0, gid: 0 };
const digest = "0".repeat(128);

/** Entries of files, with the directories above them. */
function entriesOf(paths: readonly string[]): readonly SetEntry[] {
  const entries = new Map<string, SetEntry>();
  for (const path of paths) {
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) {
      entries.set(above, { path: above, type: "directory", ...owned });
    }
  }
  for (const path of paths) {
    if (!entries.has(path)) entries.set(path, { path, type: "file", ...owned, size: 0, sha512: digest });
  }
  return [...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

const pathOf = fc
  .array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 3 })
  .map((names) => names.join("/"));
const levelsOf = fc
  .array(fc.uniqueArray(pathOf, { maxLength: 6 }), { maxLength: 4 })
  .map((levels) =>
    levels.map(
      (paths, rank): RankedLevel => ({ audience: ofMachine(`m${rank}`), rank, entries: entriesOf(paths) }),
    ),
  );

describe("the merge of levels", () => {
  test("is a list that a set could have, in which every path is of the highest level that can have it", () => {
    fc.assert(
      fc.property(levelsOf, (levels) => {
        const merged = mergeLevels(levels);
        const entries = merged.map(({ entry }) => entry);
        const list = {
          type: "mos.signed-set",
          version: 1,
          name: "s",
          serial: 1,
          destination: "/s",
          entries,
        } as const;
        expect(parseSetManifest(writeSetManifest(list)).entries).toEqual(entries);
        const [top] = levels.toReversed();
        const paths = new Map(entries.map((entry) => [entry.path, entry]));
        for (const entry of top?.entries ?? []) expect(paths.get(entry.path)).toEqual(entry);
        for (const { entry, level } of merged) {
          const higher = levels.filter(({ rank }) => rank > level.rank);
          expect(higher.some(({ entries: theirs }) => theirs.some(({ path }) => path === entry.path))).toBe(
            false,
          );
        }
        const provided = levels.flatMap((level) => providedBy(merged, level));
        expect(provided.sort()).toEqual(
          entries.flatMap(({ path, type }) => (type === "directory" ? [] : [path])),
        );
      }),
    );
  });
  test("does not depend on the order in which levels are read", () => {
    fc.assert(
      fc.property(levelsOf, (levels) => {
        expect(mergeLevels(levels.toReversed())).toEqual(mergeLevels(levels));
      }),
    );
  });
});

describe("for whom a set is", () => {
  test.each([
    ["everybody", everybody, 0],
    ["a class of the device", ofClass("lab"), 1],
    ["several, of which the last counts", ofClass("kiosk", "lab"), 2],
    ["another class", ofClass("desk"), undefined],
    ["the machine", ofMachine("m1"), 3],
    ["another machine", ofMachine("m11"), undefined],
  ])("has its place: %s", (_, audience, rank) => {
    expect(rankOf(audience, m1)).toBe(rank);
  });
  test.each([
    [{ who: "nobody" }],
    [{ who: "everybody", classes: ["a"] }],
    [{ who: "class", classes: [] }],
    [{ who: "class", classes: ["b", "a"] }],
    [{ who: "class", classes: ["a", "a"] }],
    [{ who: "class", classes: ["A"] }],
    [{ who: "machine", machine: "" }],
    [{ who: "machine", machine: "a b" }],
    [{ who: "machine", machine: "m1", classes: ["a"] }],
    [{ who: "machine" }],
    ["everybody"],
  ])("is read strictly: %j", (audience) => {
    expect(audienceSchema.safeParse(audience).success).toBe(false);
  });
  test("has a name of its own", () => {
    const names = [everybody, ofClass("a", "b"), ofClass("a"), ofMachine("a"), ofMachine("everybody")].map(
      levelName,
    );
    expect(new Set(names).size).toBe(names.length);
  });
});
