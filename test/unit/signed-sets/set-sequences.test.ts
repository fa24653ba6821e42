// Any release after any other: what is there is the last one, and installing it again is nothing to do.
import { rm } from "node:fs/promises";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { removeSet } from "../../../src/signed-sets/install-set.ts";
import { makeTree, put, setPlace, treeOf } from "./set-fixture.ts";

type Files = Record<string, string | { to: string }>;

/** Few names, so that what was a file in one release is a directory or a link in the next. */
const name = fc.constantFrom("a", "b", "c");
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
const content = fc.oneof(
  fc.constantFrom("1", "2", ""),
  fc.constantFrom("a", "b", "c").map((to) => ({ to })),
);

/** Without what is below a file, and without links that lead nowhere. */
function sound(entries: readonly (readonly [string, string | { to: string }])[]): Files {
  const files = new Map<string, string | { to: string }>();
  for (const [at, what] of entries) {
    const isInWay = [...files.keys()].some(
      (other) => other.startsWith(`${at}/`) || at.startsWith(`${other}/`),
    );
    const isWell = typeof what === "string" || (what.to !== at && typeof files.get(what.to) === "string");
    // Links are at the top, and to files there.
    if (!isInWay && isWell && (typeof what === "string" || !at.includes("/"))) files.set(at, what);
  }
  for (const [at, what] of files) {
    if (typeof what !== "string" && typeof files.get(what.to) !== "string") files.delete(at);
  }
  return Object.fromEntries(files);
}

const release = fc.array(fc.tuple(path, content), { maxLength: 6 }).map(sound);

test("whatever was installed before, the last release is what is there", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(release, { minLength: 2, maxLength: 4 }), async (releases) => {
      const at = await setPlace();
      await put(at.path("root/etc/quadlets"), { "theirs/x": "T" });
      for (const [i, files] of releases.entries()) {
        await at.install(files, i + 1);
        const { ".mos-set.json": _, ".mos-set.json.sig": __, ...wanted } = await treeOf(at.path("set"));
        expect(await at.installed()).toEqual({ ...wanted, theirs: "/", "theirs/x": "T" });
        expect(await at.again()).toMatchObject({ outcome: "unchanged", written: [], removed: [] });
      }
      await removeSet(at, "quadlets");
      expect(await at.installed()).toEqual({ theirs: "/", "theirs/x": "T" });
      await makeTree(at.path("set"), {}, 1);
      expect(await at.refusal()).toBe("set-older");
      await rm(at.path(""), { recursive: true });
    }),
    { numRuns: 8 },
  );
});
