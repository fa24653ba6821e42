import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkInitrd, initrdCompression } from "../../../src/image/initrd.ts";

/** A newc cpio archive of one file and its end mark. */
function cpio(name: string, content: Uint8Array): Uint8Array {
  const padded = (bytes: Uint8Array): Uint8Array =>
    Buffer.concat([bytes, new Uint8Array((4 - (bytes.length % 4)) % 4)]);
  const entry = (path: string, data: Uint8Array): Uint8Array => {
    const fields = [1, 0o100644, 0, 0, 1, 0, data.length, 0, 0, 0, 0, path.length + 1, 0];
    const head = `070701${fields.map((value) => value.toString(16).padStart(8, "0")).join("")}${path}\0`;
    return Buffer.concat([padded(Buffer.from(head)), padded(data)]);
  };
  return Buffer.concat([entry(name, content), entry("TRAILER!!!", new Uint8Array())]);
}

const magic = {
  gzip: Uint8Array.of(0x1f, 0x8b, 8, 0),
  zstd: Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd),
  xz: Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00),
  lz4: Uint8Array.of(0x02, 0x21, 0x4c, 0x18),
};
const early = cpio("kernel/x86/microcode/GenuineIntel.bin", new Uint8Array(1001).fill(0x30));

describe("an initrd", () => {
  test.each(Object.entries(magic))("compressed with %s is recognised", (name, bytes) => {
    expect(initrdCompression(bytes)).toBe(name);
    expect(initrdCompression(Buffer.concat([early, bytes]))).toBe(name);
    expect(initrdCompression(Buffer.concat([early, new Uint8Array(500), cpio("a", bytes), bytes]))).toBe(
      name,
    );
  });

  test("that is not compressed has no compression", () => {
    expect(initrdCompression(early)).toBeUndefined();
    expect(initrdCompression(cpio("a", magic.lz4))).toBeUndefined();
  });

  test.each([
    ["the legacy frame", magic.lz4],
    ["the current frame", Uint8Array.of(0x04, 0x22, 0x4d, 0x18)],
    ["the legacy frame behind microcode", Buffer.concat([early, magic.lz4])],
  ])("compressed with lz4 in %s is refused, and the error says why", (_what, bytes) => {
    expect(() => checkInitrd(bytes, "initrd.img")).toThrow(
      expect.objectContaining({
        code: "initrd-unusable",
        about: "initrd.img",
        message: expect.stringContaining("never arrive"),
        hint: expect.stringContaining("zstd"),
      }),
    );
  });

  test("of any other kind is taken, an empty one is not", () => {
    for (const bytes of [magic.gzip, magic.zstd, magic.xz, early]) checkInitrd(bytes, "initrd.img");
    expect(() => checkInitrd(new Uint8Array(), "initrd.img")).toThrow(
      expect.objectContaining({ code: "initrd-unusable" }),
    );
  });

  test("of any bytes is looked at to its end and no further", () => {
    fc.assert(
      fc.property(fc.nat(early.length - 1), fc.nat(255), fc.nat(early.length), (at, value, length) => {
        const copy = Buffer.from(early);
        copy[at] = value;
        initrdCompression(copy.subarray(0, length));
      }),
    );
  });
});
