// Archives next to GNU tar: what it packs is unpacked, and what both unpack is the same.
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { unpack } from "../../src/archives/unpack.ts";
import { temporaryDirectory } from "../support.ts";
import { tarOf } from "../unit/archives/tar-maker.ts";
import { put, treeOf } from "../unit/signed-sets/set-fixture.ts";

const limits = { bytes: 1024 * 1024, entries: 100 };

/** A directory with a.tar, unpacked in out. */
async function unpacked(archive: Buffer): Promise<string> {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "a.tar"), archive);
  await unpack(join(directory, "a.tar"), join(directory, "out"), limits);
  return directory;
}

describe("an archive", () => {
  test.each(["gnu", "posix", "ustar"])(
    "of GNU tar in the format %s is unpacked, long names too",
    async (format) => {
      const directory = await temporaryDirectory();
      const long = `${"x".repeat(90)}/${"y".repeat(format === "ustar" ? 90 : 200)}`;
      await put(join(directory, "in"), { a: "A", "é/ü": "U", [long]: "L", link: { to: long.slice(0, 90) } });
      execFileSync("tar", [
        `--format=${format}`,
        "-czf",
        join(directory, "a.tgz"),
        "-C",
        join(directory, "in"),
        ".",
      ]);
      await unpack(join(directory, "a.tgz"), join(directory, "out"), limits);
      expect(await treeOf(join(directory, "out"))).toEqual(await treeOf(join(directory, "in")));
    },
  );
  test("an honest one is what GNU tar makes of it", async () => {
    const name = fc.constantFrom("a", "b", "c", "d e", "é");
    const files = fc.dictionary(
      fc.tuple(name, name).map((names) => names.join("/")),
      fc.string({ maxLength: 600 }),
      { maxKeys: 5 },
    );
    await fc.assert(
      fc.asyncProperty(files, async (contents) => {
        const directory = await unpacked(
          tarOf(Object.entries(contents).map(([at, content]) => ({ path: at, content }))),
        );
        await mkdir(join(directory, "gnu"));
        execFileSync("tar", ["-xf", join(directory, "a.tar"), "-C", join(directory, "gnu")]);
        expect(await treeOf(join(directory, "out"))).toEqual(await treeOf(join(directory, "gnu")));
      }),
      { numRuns: 20 },
    );
  });
});
