// A layer that is looked into in one archive is what it is as a tree of files.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { indexLayer } from "../../../src/elf/layer-index.ts";
import { RootTree } from "../../../src/elf/root-tree.ts";
import { asMosError } from "../../../src/errors/mos-error.ts";
import { run } from "../../../src/system/process.ts";
import { temporaryDirectory } from "../../support.ts";
import { type Made, tarOf } from "../archives/tar-maker.ts";

const limit = 64 * 1024 * 1024;

const members: readonly Made[] = [
  { path: "usr/", type: "5", mode: 0o755 },
  { path: "usr/bin/", type: "5", mode: 0o755 },
  { path: "usr/bin/a", content: "content of a", mode: 0o755 },
  { path: "usr/bin/b", type: "1", target: "usr/bin/a" },
  { path: "bin", type: "2", target: "usr/bin" },
  { path: "usr/bin/round", type: "2", target: "round" },
  { path: "usr/bin/out", type: "2", target: "../../../../../usr/bin/b" },
  { path: "implied/by/file", content: "x" },
];

const name = fc.constantFrom(
  "usr",
  "bin",
  "a",
  "b",
  "out",
  "round",
  "implied",
  "by",
  "file",
  "..",
  ".",
  "nothing",
);
const anyPath = fc.array(name, { maxLength: 6 }).map((names) => `/${names.join("/")}`);

async function archived(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), "layer.tar");
  await writeFile(path, bytes);
  return path;
}

describe("a layer in one archive", () => {
  test("has at every path what the same layer has when it is unpacked", async () => {
    const archive = await archived(tarOf(members));
    const directory = join(await temporaryDirectory(), "tree");
    await mkdir(directory);
    await run("tar", ["-xf", archive, "-C", directory]);
    const [one, other] = [new RootTree([await indexLayer(archive, limit)]), new RootTree([directory])];
    const read = (root: RootTree, path: string) => {
      const found = root.find(path);
      if (found === undefined) return undefined;
      const content =
        found.kind === "file" ? root.read(found, ({ size, read: part }) => `${part(0, size + 9)}`) : "";
      return [found.path, found.kind, found.kind === "file" && found.isExecutable, content];
    };
    fc.assert(
      fc.property(anyPath, (path) => {
        expect(read(one, path)).toEqual(read(other, path));
      }),
    );
  });
  test("hides what is below it where it says so, and shows the rest", async () => {
    const upper = await archived(
      tarOf([
        { path: "usr/bin/a", type: "3" },
        { path: "implied", content: "a file" },
      ]),
    );
    const lower = await archived(tarOf(members));
    const root = new RootTree([await indexLayer(upper, limit), await indexLayer(lower, limit)]);
    expect(root.find("/usr/bin/a")).toBeUndefined();
    expect(root.find("/usr/bin/b")?.kind).toBe("file");
    expect(root.find("/implied")?.kind).toBe("file");
    expect(root.find("/implied/by/file")).toBeUndefined();
  });
  test("that is damaged is refused, or is one with less in it", async () => {
    const whole = tarOf(members);
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), async (at, byte) => {
        const bytes = Buffer.from(whole);
        bytes[at] = byte;
        const code = await indexLayer(await archived(bytes), limit).then(
          () => "archive-refused",
          (error: unknown) => asMosError(error).code,
        );
        expect(code).toBe("archive-refused");
      }),
      { numRuns: 50 },
    );
    await expect(indexLayer(await archived(whole), 600)).rejects.toMatchObject({ code: "archive-refused" });
  });
});
