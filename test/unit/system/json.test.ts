import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { parseJson } from "../../../src/system/json.ts";

function parse(text: string): unknown {
  return parseJson(new TextEncoder().encode(text), "test");
}

/** Whether a value is one that strict JSON can carry: safe integers, Unicode text, no `__proto__`. */
function isCarried(value: unknown): boolean {
  if (typeof value === "number") return !Number.isInteger(value) || Number.isSafeInteger(value);
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  const keys = Array.isArray(value) ? [] : Object.keys(value);
  return !keys.includes("__proto__") && [...keys, ...Object.values(value)].every(isCarried);
}

describe("strict JSON", () => {
  it("reads whatever JSON.stringify writes", () => {
    fc.assert(
      fc.property(fc.jsonValue().filter(isCarried), fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(parse(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  it("never reads what JSON.parse does not, and throws nothing but document-invalid", () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'[]{}":,0123e-+.tfn\\u ') })),
        (text) => {
          let strict: unknown;
          try {
            strict = parse(text);
          } catch (error) {
            expect(error).toBeInstanceOf(MosError);
            return;
          }
          expect(strict).toEqual(JSON.parse(text));
        },
      ),
    );
  });

  it.each([
    ["a duplicate key", '{"a":1,"a":2}'],
    ["a duplicate key behind an escape", '{"a":1,"\\u0061":2}'],
    ["__proto__", '{"__proto__":{}}'],
    ["a lone surrogate", '"\\ud800"'],
    ["a number beyond what can be held exactly", "9007199254740993"],
    ["infinity", "1e400"],
    ["a byte order mark", "\ufeff{}"],
    ["text after the end", "{} x"],
    ["a raw newline in a string", '"a\nb"'],
    ["nothing", ""],
    ["a leading zero", "01"],
    ["a comment", "/* */ 1"],
    ["deep nesting", `${"[".repeat(100_000)}${"]".repeat(100_000)}`],
  ])("refuses %s", (_what, text) => {
    expect(() => parse(text)).toThrow(MosError);
  });

  it("refuses bytes that are not UTF-8", () => {
    expect(() => parseJson(new Uint8Array([0x22, 0xff, 0x22]), "test")).toThrow(/not UTF-8/);
  });

  it("reads a string of a megabyte", () => {
    const long = "x".repeat(1024 * 1024);
    expect(parse(JSON.stringify(long))).toBe(long);
  });
});
