// Where links of a set may lead: told by rules, and held against what the kernel makes of the same tree.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { linkLeadsInside } from "../../../src/archives/links.ts";

type Kind = "directory" | "file" | { readonly to: string };

function leadsInside(tree: Readonly<Record<string, Kind>>, path: string): boolean {
  const entries = Object.entries(tree).map(([name, kind]) =>
    typeof kind === "string"
      ? ([name, { type: kind }] as const)
      : ([name, { type: "symlink" as const, target: kind.to }] as const),
  );
  return linkLeadsInside(
    path,
    new Map<string, { type: "directory" | "file" | "symlink"; target?: string }>(entries),
  );
}

describe("a link", () => {
  test.each([
    ["a", true],
    ["./d//a", true],
    ["d/../a", true],
    ["d/l", true],
    ["d", true],
    ["missing", false],
    ["/a", false],
    ["..", false],
    ["d/../../set/a", false],
    ["a/x", false],
    ["a/..", false],
    ["me", false],
    [".", false],
  ])("to %s: %s", (to, expected) => {
    const tree = { a: "file", d: "directory", "d/a": "file", "d/l": { to: "../a" }, me: { to } } as const;
    expect(leadsInside(tree, "me")).toBe(expected);
  });

  const target = fc
    .array(fc.constantFrom("a", "b", "d", "..", ".", "l", "m"), { minLength: 1, maxLength: 5 })
    .map((names) => names.join("/"));
  test("leads inside exactly where the kernel finds something inside", () => {
    fc.assert(
      fc.property(target, target, target, (one, two, three) => {
        const tree = {
          a: "file",
          d: "directory",
          "d/b": "file",
          "d/d": "directory",
          l: { to: one },
          m: { to: two },
          "d/m": { to: three },
        } as const;
        const top = mkdtempSync(join(tmpdir(), "mos-links-"));
        try {
          for (const [name, kind] of Object.entries(tree)) {
            if (kind === "directory") mkdirSync(join(top, name));
            else if (kind === "file") writeFileSync(join(top, name), "");
            else symlinkSync(kind.to, join(top, name));
          }
          for (const path of ["l", "m", "d/m"]) {
            const real = existsSync(join(top, path)) ? realpathSync(join(top, path)) : undefined;
            const isInside = real?.startsWith(`${realpathSync(top)}/`) === true;
            // The kernel may leave the tree and come back, where a name outside happens to be right; we do not.
            if (leadsInside(tree, path)) expect(isInside).toBe(true);
            else if (isInside) expect(`${one}${two}${three}`).toContain("..");
          }
        } finally {
          rmSync(top, { recursive: true });
        }
      }),
      { numRuns: 300 },
    );
  });
});
