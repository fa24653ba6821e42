// What the upper layer of a root has, looked at as an overlay would: a model of one puts both layers together again.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { treeDiff } from "../../../src/image/tree-diff.ts";
import type { TreeEntries, TreeEntry } from "../../../src/image/tree-entries.ts";

const directory = (identity = "d"): TreeEntry => ({ isDirectory: true, identity });
const file = (identity: string): TreeEntry => ({ isDirectory: false, identity });

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** A tree of these paths and their directories. */
function tree(entries: Readonly<Record<string, TreeEntry>>): TreeEntries {
  const all = new Map<string, TreeEntry>([["", directory()]]);
  for (const [path, entry] of Object.entries(entries).sort(([a], [b]) => a.length - b.length)) {
    const names = path.split("/");
    const parents = names.slice(1).map((_, i) => names.slice(0, i + 1).join("/"));
    // What is below a file cannot be.
    if (parents.some((parent) => all.get(parent)?.isDirectory === false)) continue;
    for (const parent of parents) if (!all.has(parent)) all.set(parent, directory());
    all.set(path, entry);
  }
  return all;
}

/**
 * As the kernel's overlay looks a path up: the upper layer first; a whiteout, or something that is no directory, hides
 * what is below; directories are merged.
 */
function overlaid(lower: TreeEntries, upper: ReadonlyMap<string, TreeEntry | "whiteout">): TreeEntries {
  const merged = new Map<string, TreeEntry>();
  for (const path of [...new Set([...lower.keys(), ...upper.keys()])].sort((a, b) => a.length - b.length)) {
    const parent = merged.get(parentOf(path));
    if (path !== "" && parent?.isDirectory !== true) continue;
    const above = upper.get(path);
    if (above === "whiteout") continue;
    // A lower directory shows through only where no layer above it has something else in its place.
    const isHidden = ((): boolean => {
      for (let at = parentOf(path); at !== ""; at = parentOf(at)) {
        const one = upper.get(at);
        if (one === "whiteout" || one?.isDirectory === false || lower.get(at)?.isDirectory === false)
          return true;
      }
      return false;
    })();
    const entry = above ?? (isHidden ? undefined : lower.get(path));
    if (entry !== undefined) merged.set(path, entry);
  }
  return merged;
}

function upperOf(lower: TreeEntries, whole: TreeEntries): ReadonlyMap<string, TreeEntry | "whiteout"> {
  const { put, whiteouts } = treeDiff(lower, whole);
  const entry = (path: string): TreeEntry => whole.get(path) ?? expect.fail(`${path} is not there`);
  return new Map<string, TreeEntry | "whiteout">([
    ...put.map((path) => [path, entry(path)] as const),
    ...whiteouts.map((path) => [path, "whiteout"] as const),
  ]);
}

describe("the upper layer of a root", () => {
  test("has what is new or changed, with the directories that lead there, and nothing else", () => {
    const lower = tree({ "usr/bin/a": file("1"), "usr/bin/b": file("1"), "etc/c": file("1") });
    const whole = tree({
      "usr/bin/a": file("2"),
      "usr/bin/b": file("1"),
      "etc/c": file("1"),
      "opt/x": file("1"),
    });
    expect(treeDiff(lower, whole)).toEqual({
      put: ["", "opt", "opt/x", "usr", "usr/bin", "usr/bin/a"],
      whiteouts: [],
    });
  });

  test("marks what is gone, a directory with one mark", () => {
    const lower = tree({ "usr/share/doc/a": file("1"), "usr/share/doc/b": file("1"), "etc/c": file("1") });
    expect(treeDiff(lower, tree({ "usr/share/x": file("1") }))).toEqual({
      put: ["", "usr", "usr/share", "usr/share/x"],
      whiteouts: ["etc", "usr/share/doc"],
    });
  });

  test("has nothing of a directory that became a file or a link, and all of a file that became a directory", () => {
    const one = tree({ "x/a": file("1"), "x/b/c": file("1") });
    const other = tree({ x: file("link") });
    expect(treeDiff(one, other)).toEqual({ put: ["", "x"], whiteouts: [] });
    expect(treeDiff(other, one)).toEqual({ put: ["", "x", "x/a", "x/b", "x/b/c"], whiteouts: [] });
  });

  test("has a directory whose owner changed, without what is in it", () => {
    const lower = tree({ x: directory("root"), "x/a": file("1") });
    expect(treeDiff(lower, tree({ x: directory("daemon"), "x/a": file("1") }))).toEqual({
      put: ["", "x"],
      whiteouts: [],
    });
  });

  test("over the lower one is the whole tree, whatever both are", () => {
    const path = fc
      .array(fc.constantFrom("a", "b", "a.b", "c"), { minLength: 1, maxLength: 4 })
      .map((names) => names.join("/"));
    const entry = fc.oneof(
      fc.constantFrom("1", "2").map(file),
      fc.constantFrom("d", "other").map((identity) => directory(identity)),
    );
    const anyTree = fc.dictionary(path, entry, { maxKeys: 12 }).map(tree);
    fc.assert(
      fc.property(anyTree, anyTree, (lower, whole) => {
        const merged = overlaid(lower, upperOf(lower, whole));
        expect([...merged].sort()).toEqual([...whole].sort());
      }),
      { numRuns: 500 },
    );
  });

  test("has only its root where nothing changed", () => {
    const same = tree({ "usr/bin/a": file("1") });
    expect(treeDiff(same, tree({ "usr/bin/a": file("1") }))).toEqual({ put: [""], whiteouts: [] });
  });
});
