// Archives, packed or not: what is honest is unpacked; what is hostile is not. GNU tar: test/integration/unpack.test.ts. A10, A20, A21.
import { statSync } from "node:fs";
import { lstat, mkdir, realpath, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { unpack } from "../../../src/archives/unpack.ts";
import { asMosError } from "../../../src/errors/mos-error.ts";
import { temporaryDirectory } from "../../support.ts";
import { treeOf } from "../signed-sets/set-fixture.ts";
import { type Made, paxRecord, tarOf } from "./tar-maker.ts";

const limits = { bytes: 1024 * 1024, entries: 100 };

async function place(archive: Buffer, allowed = limits) {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "a.tar"), archive);
  const out = join(directory, "out");
  const result = await unpack(join(directory, "a.tar"), out, allowed).then(
    () => "unpacked",
    (error: unknown) => asMosError(error).code,
  );
  return { result, directory, tree: await treeOf(out) };
}

const members: readonly Made[] = [
  { path: "d/", type: "5" },
  { path: "d/a", content: "A" },
  { path: "./e/f/b", content: "B".repeat(1000), mode: 0o755 },
  { path: "l", type: "2", target: "d/../e/f/b" },
];
const expected = { d: "/", "d/a": "A", e: "/", "e/f": "/", "e/f/b": "B".repeat(1000), l: "-> d/../e/f/b" };

describe("an archive", () => {
  test.each([
    ["plain", (bytes: Buffer) => bytes],
    ["gzip", gzipSync],
    ["zstd", zstdCompressSync],
  ])("%s is unpacked", async (_, packed) => {
    const { tree, directory } = await place(packed(tarOf(members)));
    expect(tree).toEqual(expected);
    expect((await lstat(join(directory, "out/e/f/b"))).mode & 0o100).toBe(0o100);
  });
  test("is unpacked where nothing is yet, and nowhere else", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "a.tar"), tarOf(members));
    await mkdir(join(directory, "out"));
    await expect(unpack(join(directory, "a.tar"), join(directory, "out"), limits)).rejects.toThrow("EEXIST");
  });
});

const hostile: readonly (readonly [string, readonly Made[]])[] = [
  ["an absolute path", [{ path: "/etc/x" }]],
  ["a path with ..", [{ path: "a/../../x" }]],
  ["a path that is ..", [{ path: "..", type: "5" }]],
  ["a newline in a path", [{ path: "a\nb" }]],
  ["an empty path", [{ path: "" }]],
  ["an absolute link", [{ path: "l", type: "2", target: "/etc/passwd" }]],
  ["a link that leads out", [{ path: "d/l", type: "2", target: "../../x" }]],
  ["a link to nothing", [{ path: "l", type: "2", target: "nothing" }]],
  [
    "a link that leads out by another link",
    [
      { path: "a/b/up", type: "2", target: "../.." },
      { path: "a/b/out", type: "2", target: "up/../x" },
    ],
  ],
  [
    "a loop of links",
    [
      { path: "a", type: "2", target: "b" },
      { path: "b", type: "2", target: "a" },
    ],
  ],
  [
    "a file below a link",
    [
      { path: "d/x", content: "X" },
      { path: "l", type: "2", target: "d" },
      { path: "l/y", content: "Y" },
    ],
  ],
  ["a file below a file", [{ path: "a", content: "A" }, { path: "a/b" }]],
  [
    "a directory in the place of a file",
    [
      { path: "a", content: "A" },
      { path: "a", type: "5" },
    ],
  ],
  [
    "a directory in the place of a link",
    [{ path: "d/x" }, { path: "l", type: "2", target: "d" }, { path: "l", type: "5" }],
  ],
  [
    "a path twice",
    [
      { path: "a", content: "1" },
      { path: "a", content: "2" },
    ],
  ],
  [
    "a path twice, differently written",
    [
      { path: "a", content: "1" },
      { path: "./a", content: "2" },
    ],
  ],
  ["a hard link", [{ path: "a" }, { path: "b", type: "1", target: "a" }]],
  ["a character device", [{ path: "null", type: "3" }]],
  ["a block device", [{ path: "sda", type: "4" }]],
  ["a pipe", [{ path: "p", type: "6" }]],
  ["a sparse file of GNU tar", [{ path: "s", type: "S" }]],
  [
    "a sparse file of pax",
    [{ path: "x", type: "x", content: paxRecord("GNU.sparse.major", "1") }, { path: "s" }],
  ],
  [
    "a path of pax that leads out",
    [{ path: "x", type: "x", content: paxRecord("path", "../x") }, { path: "s" }],
  ],
  ["a path for all members", [{ path: "g", type: "g", content: paxRecord("path", "x") }, { path: "s" }]],
  [
    "two extended headers that disagree",
    [
      { path: "x", type: "x", content: paxRecord("path", "a") },
      { path: "L", type: "L", content: "b\0" },
      { path: "s" },
    ],
  ],
  [
    "an endless extended header",
    [{ path: "x", type: "x", content: Buffer.alloc(65 * 1024, 0x20) }, { path: "s" }],
  ],
  ["a malformed extended header", [{ path: "x", type: "x", content: "99999 path=a\n" }, { path: "s" }]],
  ["a huge file that is not there", [{ path: "a", size: 0o77777777777 }]],
  ["a directory with content", [{ path: "d", type: "5", content: "D" }]],
  ["a type that nobody knows", [{ path: "a", type: "Z" }]],
  ["more entries than allowed", Array.from({ length: 101 }, (_, i) => ({ path: `f${i}` }))],
  [
    "more bytes than allowed",
    [
      { path: "a", content: Buffer.alloc(800_000) },
      { path: "b", content: Buffer.alloc(3_000_000) },
    ],
  ],
  [
    "directories without end",
    [
      {
        path: Array.from({ length: 80 }, () => "d")
          .join("/")
          .slice(0, 100),
      },
      { path: "x", type: "x", content: paxRecord("path", Array.from({ length: 80 }, () => "d").join("/")) },
      { path: "s" },
    ],
  ],
];

describe("refused:", () => {
  test.each(hostile)("%s", async (_, list) => {
    const { result } = await place(tarOf(list));
    expect(result).toBe("archive-refused");
  });
  test("nothing at all, half of it, and what goes on after its end", async () => {
    const good = tarOf(members);
    for (const bytes of [Buffer.alloc(0), good.subarray(0, 700), Buffer.concat([good, Buffer.from("more")])])
      expect((await place(bytes)).result).toBe("archive-refused");
  });
  test("a packed file of zeros that would fill the disk", async () => {
    const bomb = gzipSync(tarOf([{ path: "zeros", content: Buffer.alloc(64 * 1024 * 1024) }]));
    expect(bomb.length).toBeLessThan(100_000);
    const { result, directory } = await place(bomb);
    expect(result).toBe("archive-refused");
    expect(statSync(join(directory, "out")).isDirectory()).toBe(true);
  });
  test("damaged compression", async () => {
    const packed = gzipSync(tarOf(members));
    packed.writeUInt32LE(0xffffffff, packed.length >> 1);
    expect((await place(packed)).result).toBe("archive-refused");
    expect((await place(gzipSync(tarOf(members)).subarray(0, 60))).result).toBe("archive-refused");
  });
  test("a header with a wrong checksum", async () => {
    const bytes = tarOf(members);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    expect((await place(bytes)).result).toBe("archive-refused");
  });
});

describe("whatever an archive has in it", () => {
  const path = fc.constantFrom("a", "b", "a/b", "../x", "/x", "l", "l/x", "./a", "a/../b", "d/", "x/y/z");
  const target = fc.constantFrom("a", "..", "../..", "/", "l", "a/b", ".", "x/y/../../..");
  const member = fc.record({
    path,
    target,
    type: fc.constantFrom("0", "2", "5", "1", "L"),
    content: fc.constantFrom("", "C"),
  });
  test("nothing is written outside, and every link leads inside", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(member, { maxLength: 6 }), async (list) => {
        const clean = list.map((one) =>
          one.type === "0" || one.type === "L" ? one : { ...one, content: "" },
        );
        const { directory, result, tree } = await place(tarOf(clean));
        expect(
          Object.keys(await treeOf(directory)).filter((name) => name !== "a.tar" && !name.startsWith("out")),
        ).toEqual([]);
        if (result !== "unpacked") return;
        for (const [name, what] of Object.entries(tree)) {
          if (!what.startsWith("-> ")) continue;
          expect(await realpath(join(directory, "out", name))).toMatch(
            new RegExp(`^${await realpath(join(directory, "out"))}/`),
          );
        }
      }),
      { numRuns: 150 },
    );
  });
});
