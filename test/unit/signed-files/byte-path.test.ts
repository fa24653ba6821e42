// The path rules: which name a file is signed under.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  baseName,
  canonical,
  canonicalPrefix,
  directoryOf,
  fromBytes,
  fromText,
  relativeTo,
  signedName,
  toBytes,
  toText,
} from "../../../src/signed-files/byte-path.ts";
import { glibCanonical, hasGlib } from "./glib.ts";

const path = fc
  .array(fc.constantFrom("/", "//", ".", "..", "a", "b", "...", "é", "a.sig", " "), { maxLength: 9 })
  .map((parts) => fromText(parts.join("")));
const root = fromText("/base/dir");

describe("a path", () => {
  test("keeps bytes that are no text", () => {
    const bytes = Buffer.from([0x2f, 0xff, 0xfe, 0x80]);
    expect(toBytes(fromBytes(bytes))).toEqual(bytes);
    expect(toText(fromBytes(bytes))).toContain("\uFFFD");
  });
  test.each([
    ["/x/../pre//y/", "pre/y"],
    ["etc", "etc"],
    ["/", ""],
    ["../../a", "a"],
  ])("as a prefix %j is %j", (given, expected) => {
    expect(toText(canonicalPrefix(fromText(given)))).toBe(expected);
  });
  test.each([
    ["/a/b", "/a", "b"],
    ["/a//b/c", "/a/", "b/c"],
    ["/a", "/a", ""],
    ["/ab", "/a", undefined],
    ["/a", "/a/b", undefined],
  ])("%j below %j is %j", (inner, outer, expected) => {
    const found = relativeTo(fromText(inner), fromText(outer));
    expect(found === undefined ? undefined : toText(found)).toBe(expected);
  });
  test("is signed below its prefix", () => {
    expect(signedName(fromText("a"), fromText("p/q"))).toBe("p/q/a");
    expect(signedName(fromText("a"), undefined)).toBe("a");
  });

  /** The rule said another way: climb and descend in a list of names, from the left, by recursion. */
  function climb(names: readonly string[], at: readonly string[]): readonly string[] {
    const [name, ...rest] = names;
    if (name === undefined) return at;
    if (name === "" || name === ".") return climb(rest, at);
    return climb(rest, name === ".." ? at.slice(0, -1) : [...at, name]);
  }

  test("without `.` and `..` leads where a walk by its names leads", () => {
    fc.assert(
      fc.property(path, (given) => {
        const absolute = given.startsWith("/") ? given : `${root}/${given}`;
        const expected = climb(absolute.split("/"), []).join("/");
        expect(canonical(given, root).replace(/^\/+/, "")).toBe(expected);
      }),
    );
  });
  test("that is canonical stays as it is", () => {
    fc.assert(
      fc.property(path, (given) => {
        const once = canonical(given, root);
        expect(canonical(once, root)).toBe(once);
      }),
    );
  });
  test("is its directory and its name", () => {
    fc.assert(
      fc.property(path, (given) => {
        const whole = canonical(given, root).replace(/^\/\//, "/");
        const one = fromBytes(Buffer.from(whole, "latin1"));
        if (one === "/") return;
        expect(canonical(baseName(one), directoryOf(one)).replace(/^\/\//, "/")).toBe(one);
        expect(relativeTo(one, directoryOf(one))).toBe(baseName(one));
      }),
    );
  });
  test("is inside a directory exactly when it begins with it and a slash", () => {
    fc.assert(
      fc.property(path, path, (one, other) => {
        const [inner, outer] = [canonical(one, root), canonical(other, root)].map((p) =>
          p.replace(/^\/\//, "/"),
        );
        const prefix = outer === "/" ? "/" : `${outer}/`;
        const isInside = inner === outer || (inner ?? "").startsWith(prefix);
        expect(relativeTo(fromText(toText(canonical(one, root))), canonical(other, root)) !== undefined).toBe(
          isInside,
        );
      }),
    );
  });
  test.skipIf(!hasGlib)("is what GLib makes of it", () => {
    fc.assert(
      fc.property(path, (given) => {
        expect<string>(canonical(given, root)).toBe(glibCanonical(given, root));
      }),
      { numRuns: 2000 },
    );
  });
});
