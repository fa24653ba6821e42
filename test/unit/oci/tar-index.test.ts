// What of a tar archive is read, and what is refused: made here block by block, each broken one from a good one.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { indexTar } from "../../../src/oci/tar-index.ts";

const blobName = `blobs/sha256/${digestOf("blob").slice("sha256:".length)}`;

interface HeaderChange {
  readonly type?: string;
  readonly magic?: string;
  readonly prefix?: string;
  readonly size?: Buffer | number;
  readonly checksum?: number;
}

/** A header as POSIX has it. */
function header(name: string, bytes: number, change: HeaderChange = {}): Buffer {
  const { type = "0", magic = "ustar\x0000", prefix = "", size = bytes } = change;
  const block = Buffer.alloc(512);
  block.write(name, 0, 100);
  block.write("0000644\0", 100);
  if (typeof size === "number") block.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  else size.copy(block, 124);
  block.write(`${"0".repeat(11)}\0`, 136);
  block.write(type, 156, "latin1");
  block.write(magic, 257, "latin1");
  block.write(prefix, 345, 155);
  block.write(" ".repeat(8), 148);
  const sum = change.checksum ?? block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

function member(name: string, content: string | Buffer, change: HeaderChange = {}): Buffer {
  const bytes = Buffer.from(content);
  const padding = Buffer.alloc((512 - (bytes.length % 512)) % 512);
  return Buffer.concat([header(name, bytes.length, change), bytes, padding]);
}

/** A record of an extended header. */
function record(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (String(length).length + rest !== length) length++;
  return `${length} ${key}=${value}\n`;
}

const end = Buffer.alloc(1024);
const tar = (...blocks: readonly Buffer[]): Buffer => Buffer.concat([...blocks, end]);

function index(bytes: Buffer): Record<string, string> {
  const read = (offset: number, length: number): Buffer => bytes.subarray(offset, offset + length);
  return Object.fromEntries(
    [...indexTar(bytes.length, read, "test.tar")].map(([name, { offset, size }]) => [
      name,
      bytes.toString("latin1", offset, offset + size),
    ]),
  );
}

const expectRefused = (bytes: Buffer, message: RegExp): void => {
  expect(() => index(bytes)).toThrow(
    expect.objectContaining({ code: "archive-invalid", message: expect.stringMatching(message) }),
  );
};

const good = [member("oci-layout", "{}"), member("index.json", "[]"), member(blobName, "x".repeat(700))];

describe("the files of a layout are found", () => {
  const found = { "oci-layout": "{}", "index.json": "[]", [blobName]: "x".repeat(700) };

  test.each<[string, Buffer]>([
    ["as they are", tar(...good)],
    [
      "in GNU's format",
      tar(...good.map((bytes, i) => (i === 0 ? member("oci-layout", "{}", { magic: "ustar  \0" }) : bytes))),
    ],
    [
      "with directories, and `./` before them",
      tar(header("./blobs/", 0, { type: "5" }), member("./oci-layout", "{}"), ...good.slice(1)),
    ],
    [
      "with a name in two parts",
      tar(...good.slice(0, 2), member(blobName.slice("blobs/".length), "x".repeat(700), { prefix: "blobs" })),
    ],
    [
      "with a name and a size in an extended header",
      tar(
        ...good.slice(0, 2),
        member("PaxHeaders/0", record("path", blobName) + record("size", "700") + record("mtime", "1.5"), {
          type: "x",
        }),
        header("short", 0),
        member("", "x".repeat(700)).subarray(512),
      ),
    ],
    [
      "with a size in binary",
      tar(
        ...good.slice(0, 2),
        member(blobName, "x".repeat(700), {
          size: Buffer.from("800000000000000000000002bc", "hex")
            .subarray(0, 12)
            .fill(0, 1, 10)
            .fill(Buffer.from("02bc", "hex"), 10),
        }),
      ),
    ],
    ["beside files that are not of a layout", tar(...good, member("README", "text"))],
    ["after a comment for all members", tar(member("g", record("comment", "0123"), { type: "g" }), ...good)],
  ])("%s", (_, bytes) => {
    expect(index(bytes)).toEqual(found);
  });

  test("whatever their content is", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.uint8Array({ maxLength: 3000 }), (a, b) => {
        const found = index(tar(member("oci-layout", Buffer.from(a)), member(blobName, Buffer.from(b))));
        expect(found["oci-layout"]).toBe(Buffer.from(a).toString("latin1"));
        expect(found[blobName]).toBe(Buffer.from(b).toString("latin1"));
      }),
    );
  });
});

describe("an archive is refused", () => {
  const [first = end, second = end, third = end] = good;
  test.each<[string, Buffer, RegExp]>([
    ["that is empty", Buffer.of(), /cut short/],
    ["without its end", Buffer.concat(good), /cut short/],
    ["with half of its end", Buffer.concat([...good, Buffer.alloc(512)]), /cut short/],
    ["that goes on after its end", Buffer.concat([first, Buffer.alloc(512), second, end]), /goes on/],
    ["whose last file is not whole", Buffer.concat([first, third]).subarray(0, -300), /cut short/],
    ["of text", Buffer.alloc(2048, "no archive "), /no tar archive/],
    ["in gzip", Buffer.concat([Buffer.of(0x1f, 0x8b), Buffer.alloc(2000, 1)]), /compressed/],
    ["in zstd", Buffer.concat([Buffer.of(0x28, 0xb5, 0x2f, 0xfd), Buffer.alloc(2000, 1)]), /compressed/],
    ["with a wrong checksum", tar(member("oci-layout", "{}", { checksum: 1 }), second), /checksum/],
    ["with a file twice", tar(...good, first), /oci-layout twice/],
    ["with a file twice, once with ./", tar(...good, member("./oci-layout", "{}")), /oci-layout twice/],
    ["with a path upwards", tar(...good, member("../etc/passwd", "x")), /outside/],
    ["with a path upwards in the middle", tar(...good, member("blobs/../../x", "x")), /outside/],
    ["with an absolute path", tar(...good, member("/etc/passwd", "x")), /outside/],
    [
      "with a path upwards in an extended header",
      tar(member("x", record("path", "../x"), { type: "x" }), ...good),
      /outside/,
    ],
    ["with a hard link", tar(...good, header("a", 0, { type: "1" })), /something else/],
    ["with a symbolic link", tar(...good, header("a", 0, { type: "2" })), /something else/],
    ["with a device", tar(...good, header("a", 0, { type: "3" })), /something else/],
    ["with a FIFO", tar(...good, header("a", 0, { type: "6" })), /something else/],
    ["with a sparse file of GNU", tar(...good, header("a", 0, { type: "S" })), /something else/],
    ["with a long name of GNU", tar(...good, member("a", "b", { type: "L" })), /something else/],
    ["with a directory that has content", tar(member("blobs/", "x", { type: "5" }), ...good), /directory/],
    [
      "with a size that is no number",
      tar(member("oci-layout", "{}", { size: Buffer.from("0000000008x\0") })),
      /malformed/,
    ],
    ["with a negative size", tar(member("oci-layout", "{}", { size: Buffer.alloc(12, 0xff) })), /malformed/],
    [
      "with a size beyond all numbers",
      tar(member("oci-layout", "{}", { size: Buffer.concat([Buffer.of(0x80), Buffer.alloc(11, 0xff)]) })),
      /too large/,
    ],
    ["with a size beyond its end", tar(member("oci-layout", "{}", { size: 8 * 1024 ** 3 - 1 })), /cut short/],
    [
      "with a name that is no text",
      tar(member("oci-layout", "{}"), header("a", 0, { prefix: "" }).fill(0xff, 0, 1)),
      /checksum/,
    ],
    [
      "with extended headers that are malformed",
      tar(member("x", "99 path=a\n", { type: "x" }), ...good),
      /malformed/,
    ],
    [
      "with extended headers without end",
      tar(member("x", "x".repeat(70_000), { type: "x" }), ...good),
      /larger than/,
    ],
    [
      "with a record twice",
      tar(member("x", record("path", "a") + record("path", "b"), { type: "x" }), ...good),
      /has path/,
    ],
    [
      "with a sparse file of POSIX",
      tar(member("x", record("GNU.sparse.major", "1"), { type: "x" }), ...good),
      /GNU.sparse/,
    ],
    [
      "with a size for all members",
      tar(member("g", record("size", "1"), { type: "g" }), ...good),
      /for all members/,
    ],
    [
      "with two extended headers for one member",
      tar(
        member("x", record("path", "a"), { type: "x" }),
        member("x", record("size", "1"), { type: "x" }),
        ...good,
      ),
      /two extended/,
    ],
    [
      "with a malformed size in an extended header",
      tar(member("x", record("size", "-1"), { type: "x" }), ...good),
      /malformed/,
    ],
  ])("%s", (_, bytes, message) => {
    expectRefused(bytes, message);
  });

  test("with more members than any layout has", () => {
    expectRefused(
      tar(...Array.from({ length: 16_386 }, () => header("blobs/", 0, { type: "5" }))),
      /more than 16384/,
    );
  });
});

test("any bytes are read or refused, and never more than the archive", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 2048 }),
      fc.array(fc.record({ at: fc.nat(tar(...good).length - 1), value: fc.nat(255) }), { maxLength: 4 }),
      (prefix, changes) => {
        const changed = Buffer.from(tar(...good));
        for (const { at, value } of changes) changed[at] = value;
        for (const bytes of [changed, Buffer.concat([prefix, changed]), Buffer.from(prefix)]) {
          try {
            const read = (offset: number, length: number): Buffer => bytes.subarray(offset, offset + length);
            for (const { offset, size } of indexTar(bytes.length, read, "t").values()) {
              expect(offset + size).toBeLessThanOrEqual(bytes.length);
            }
          } catch (error) {
            expect(error).toMatchObject({ code: "archive-invalid" });
          }
        }
      },
    ),
  );
});
