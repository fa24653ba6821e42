import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parsePe, sectionContent } from "../../../src/efi/pe.ts";
import { patched, places, text, writePe } from "./pe-writer.ts";

const good = writePe([
  { name: ".text", content: text("code") },
  { name: ".cmdline", content: text("quiet") },
]);
const second = places.sectionTable + 40;

describe("an EFI program", () => {
  test("is read section by section, without the padding of the file", () => {
    const image = parsePe(good, "x.efi");
    expect(image.sections.map(({ name }) => name)).toEqual([".text", ".cmdline"]);
    expect(image.sections.map((section) => Buffer.from(sectionContent(image, section)).toString())).toEqual([
      "code",
      "quiet",
    ]);
    expect(image.certificates).toEqual({ offset: good.length, size: 0 });
  });

  test.each([
    ["nothing in it", new Uint8Array()],
    ["another beginning", patched(good, 0, 0, 1)],
    ["a PE header outside of the file", patched(good, places.peOffset, good.length)],
    ["a PE header at the end of the address space", patched(good, places.peOffset, 0xffff_fffc)],
    ["another PE signature", patched(good, 0x80, 0x4551)],
    ["no sections", patched(good, places.sectionCount, 0, 2)],
    ["more sections than its headers hold", patched(good, places.sectionCount, 65_535, 2)],
    ["an optional header that ends early", patched(good, places.optionalSize, 100, 2)],
    ["an optional header of an unknown kind", patched(good, places.magic, 0x107, 2)],
    ["a directory without a place for a signature", patched(good, places.directoryCount, 4)],
    [
      "headers that end inside the section table",
      patched(good, places.headersSize, places.sectionTable + 79),
    ],
    ["headers larger than the file", patched(good, places.headersSize, good.length + 1)],
    ["sections that overlap", patched(good, second + 20, 0x200)],
    ["a section inside the headers", patched(good, places.sectionTable + 20, 0x180)],
    ["a section behind the end", patched(good, second + 20, good.length)],
    ["a section that is longer than the file", patched(good, second + 16, 0x400)],
    ["a gap between sections", patched(good, places.sectionTable + 16, 0x100)],
    ["sections in one place in memory", patched(good, second + 12, 0x1000)],
    ["a section name with a control character", patched(good, second + 1, 0x0a, 1)],
    ["a section name with something behind its end", patched(good, places.sectionTable + 7, 0x41, 1)],
    [
      "certificates outside of the file",
      patched(patched(good, places.certificateOffset, good.length), places.certificateSize, 8),
    ],
    [
      "certificates that are not at the end",
      patched(patched(good, places.certificateOffset, 0x400), places.certificateSize, 8),
    ],
    [
      "certificates over a section",
      patched(patched(good, places.certificateOffset, 0x400), places.certificateSize, good.length - 0x400),
    ],
    ["certificates of no size", patched(good, places.certificateOffset, good.length)],
  ])("with %s is refused", (_what, bytes) => {
    expect(() => parsePe(bytes, "x.efi")).toThrow(
      expect.objectContaining({ code: "efi-image-malformed", about: "x.efi" }),
    );
  });

  test("that is cut off anywhere before its last padding is refused", () => {
    for (let length = 0; length < good.length; length++) {
      expect(() => parsePe(good.subarray(0, length), "x.efi")).toThrow(
        expect.objectContaining({ code: "efi-image-malformed" }),
      );
    }
  });

  test("of damaged headers is read or refused, and never read outside of its bytes", () => {
    const change = fc.record({ at: fc.nat(places.sectionTable + 79), value: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const copy = Buffer.from(good);
        for (const { at, value } of changes) copy[at] = value;
        try {
          const image = parsePe(copy, "x.efi");
          for (const section of image.sections) {
            expect(sectionContent(image, section).length).toBeLessThanOrEqual(copy.length);
          }
        } catch (error) {
          expect(error).toMatchObject({ code: "efi-image-malformed" });
        }
      }),
      { numRuns: 500 },
    );
  });
});
