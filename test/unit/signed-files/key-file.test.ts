// Configurations of validator: the dialect that GLib reads, told by its rules and held against GLib itself.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  booleanValue,
  type KeyFile,
  listValue,
  parseKeyFile,
  rawValue,
  stringValue,
} from "../../../src/signed-files/key-file.ts";
import { hasGlib, withGlibKeyFile } from "./glib.ts";

function parsed(text: string): KeyFile {
  const result = parseKeyFile(Buffer.from(text));
  if ("error" in result) throw new Error(result.error);
  return result.value;
}

const textOf = (text: string, key = "k") => stringValue(parsed(`[install]\n${text}`), "install", key);
const listOf = (text: string) => listValue(parsed(`[install]\n${text}`), "install", "k");
const refusal = (text: string | Buffer) => {
  const result = parseKeyFile(Buffer.from(text));
  return "error" in result ? result.error : undefined;
};

describe("a configuration", () => {
  test("may have blanks before lines and around the equals sign", () => {
    expect(textOf("  k \t=  v")).toEqual({ value: "v" });
  });
  test("keeps blanks at the end of a value, and says that it is doubtful", () => {
    expect(textOf("k=v ")).toEqual({ value: "v " });
    expect(parsed("[a]\nk=v ").doubts).toHaveLength(1);
  });
  test("has no comments behind a value", () => {
    expect(textOf("k=cdst # x")).toEqual({ value: "cdst # x" });
    expect(parsed("[a]\nk=cdst # x").doubts).toHaveLength(1);
  });
  test("may have lines that end in CR LF", () => {
    expect(textOf("k=v\r\nl=w\r\n")).toEqual({ value: "v" });
  });
  test("with a byte order mark is refused", () => {
    expect(refusal("\uFEFF[install]\nk=v\n")).toContain("not a key-value pair, group, or comment");
  });
  test("takes the last of a key that is there twice, and of a group", () => {
    const file = parsed("[a]\nk=1\nk=2\n[b]\nk=x\n[a]\nk=3\n");
    expect(stringValue(file, "a", "k")).toEqual({ value: "3" });
    expect(file.doubts).toHaveLength(3);
  });
  test("knows the escapes \\s \\t \\n \\r \\\\ and no others", () => {
    expect(textOf("k=\\sa\\tb\\nc\\rd\\\\e")).toEqual({ value: " a\tb\nc\rd\\e" });
    expect(textOf("k=\\x")).toHaveProperty("error");
    expect(textOf("k=a\\")).toHaveProperty("error");
  });
  test("parts lists at semicolons, keeps blanks there, and drops an empty end", () => {
    expect(listOf("k=a; b;")).toEqual({ value: ["a", " b"] });
    expect(listOf("k=a;;b")).toEqual({ value: ["a", "", "b"] });
    expect(listOf("k=a\\;b")).toEqual({ value: ["a;b"] });
    expect(listOf("k=")).toEqual({ value: [] });
  });
  test.each([
    ["true", true],
    ["1", true],
    ["false", false],
    ["0", false],
    ["true ", true],
  ])("says %j", (text, value) => {
    expect(booleanValue(parsed(`[a]\nk=${text}`), "a", "k")).toEqual({ value });
  });
  test.each(["yes", "no", "TRUE", "on", ""])("does not say %j for a boolean", (text) => {
    expect(booleanValue(parsed(`[a]\nk=${text}`), "a", "k")).toHaveProperty("error");
  });
  test("says which group or key is missing", () => {
    expect(rawValue(parsed("[a]\nk=v"), "b", "k")).toEqual({
      error: "Key file does not have group “b”",
    });
    expect(rawValue(parsed("[a]\nk=v"), "a", "l")).toEqual({
      error: "Key file does not have key “l” in group “a”",
    });
  });
  test("must begin with a group, and is lines of keys and groups", () => {
    expect(refusal("k=v\n")).toBe("Key file does not start with a group");
    expect(refusal("[a]\nnonsense\n")).toContain("“nonsense”");
    expect(refusal("[]\n")).toBe("Invalid group name: ");
    expect(refusal(Buffer.from("[a]\nk=\0"))).toContain("NUL");
  });
});

/** Pieces that configurations are made of, and that parsers trip over. */
const piece = fc.constantFrom(
  ...["[install]", "[", "]", "=", "\n", "\r\n", "\r", " ", "\t", "#", ";", "\\", "\\s", "\\;", "\\n", "\\\\"],
  ...[
    "k",
    "l",
    "k=",
    "k=a;b;c",
    "k = v",
    "true",
    "1",
    "0",
    "false",
    "é",
    "\xff",
    "[de]",
    "Encoding=",
    "UTF-8",
  ],
  ...["\n[install]\n", "\nk=", "\nl=", "\v", "\f", "-", "k[de]=x", "_"],
);
const keyFileText = fc
  .array(piece, { maxLength: 14 })
  .map((pieces) => Buffer.from(`[install]\n${pieces.join("")}`, "latin1"));
const latin1 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");
const ours = <T>(result: { readonly value: T } | { readonly error: string }): T | undefined =>
  "value" in result ? result.value : undefined;

describe.skipIf(!hasGlib)("next to GLib", () => {
  test("the same files are taken, and the same values read from them", () => {
    fc.assert(
      fc.property(keyFileText, (bytes) => {
        const result = parseKeyFile(bytes);
        const file = "value" in result ? result.value : undefined;
        const mine =
          file === undefined
            ? undefined
            : ["k", "l"].map((key) => ({
                string: ours(stringValue(file, "install", key)),
                list: ours(listValue(file, "install", key)),
                boolean: ours(booleanValue(file, "install", key)),
              }));
        const theirs = withGlibKeyFile(bytes, (glib) =>
          ["k", "l"].map((key) => ({
            string: glib.string("install", key),
            list: glib.list("install", key),
            boolean: glib.boolean("install", key),
          })),
        );
        const coded = mine?.map(({ string, list, boolean }) => ({
          string: string === undefined ? undefined : latin1(string),
          list: list?.map(latin1),
          boolean,
        }));
        expect(coded).toEqual(theirs);
      }),
      { numRuns: 3000 },
    );
  });
});
