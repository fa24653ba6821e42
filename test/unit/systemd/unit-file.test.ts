import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  command,
  formatUnit,
  literal,
  quadletLiteral,
  quadletWord,
  raw,
  words,
} from "../../../src/systemd/unit-file.ts";

/** systemd's own rules for reading words back (systemd.syntax(7), "Quoting"), written independently. */
function readWords(line: string): string[] {
  const word = /"((?:[^"\\]|\\.)*)"|(\S+)/g;
  const escaped = /\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(.))/g;
  const plain: Readonly<Record<string, string>> = { n: "\n", t: "\t" };
  return [...line.matchAll(word)].map(([, quoted, bare]) =>
    (quoted ?? bare ?? "").replaceAll(escaped, (_all, x?: string, u?: string, c?: string) =>
      c === undefined ? String.fromCharCode(Number.parseInt(x ?? u ?? "", 16)) : (plain[c] ?? c),
    ),
  );
}

const text = fc
  .string({ unit: "grapheme", maxLength: 40 })
  .filter((s) => s.isWellFormed() && !s.includes("\0"));
const hostile = fc.oneof(
  text,
  fc.constantFrom(
    "a\nb",
    "%h",
    "$HOME",
    "$" + "{X}",
    '"',
    "\\",
    "'",
    "\t",
    "\u2028",
    "\u0085",
    "\x1b[0m",
    "",
  ),
);

describe("unit files", () => {
  it("give systemd back exactly the words that went in", () => {
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 1, maxLength: 6 }), (argv) => {
        const line = words(...argv);
        expect(line).not.toMatch(/[\n\r]/);
        expect(readWords(line).map((word) => word.replaceAll("%%", "%"))).toEqual(argv);
      }),
    );
  });

  it("leave no specifier and no variable in a command line", () => {
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 1, maxLength: 6 }), (argv) => {
        const line = command(...argv);
        expect(line.replaceAll("%%", "").includes("%")).toBe(false);
        expect(line.replaceAll("$$", "").includes("$")).toBe(false);
        expect(
          quadletWord(argv[0] ?? "")
            .replaceAll("$$", "")
            .replaceAll("%%", ""),
        ).not.toMatch(/[$%]/);
      }),
    );
  });

  it("refuse text that would end its line", () => {
    for (const make of [raw, literal, quadletLiteral]) {
      for (const bad of ["a\nExecStart=/bin/evil", "a\rb", "a\u2028b", "joins the next line\\"]) {
        expect(() => make(bad)).toThrow(/cannot hold/);
      }
    }
  });

  it("leave out sections that are empty", () => {
    expect(
      formatUnit([
        { name: "Unit", entries: [["Description", raw("x")]] },
        { name: "Service", entries: [] },
      ]),
    ).toBe("[Unit]\nDescription=x\n");
  });
});
