import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestFromHex, digestOf, hexOf, isDigest } from "../../../src/oci/digest.ts";

describe("a digest", () => {
  it("names bytes, and its hex part names their blob", () => {
    expect(digestOf("{}")).toBe("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const digest = digestOf(bytes);
        expect(isDigest(digest)).toBe(true);
        expect(digestFromHex(hexOf(digest))).toBe(digest);
      }),
    );
  });

  it.each([
    "sha256:",
    `sha256:${"a".repeat(63)}`,
    `sha256:${"a".repeat(65)}`,
    `sha256:${"A".repeat(64)}`,
    `sha512:${"a".repeat(128)}`,
    `${"a".repeat(64)}`,
    `sha256:${"a".repeat(64)}\n`,
    "",
    undefined,
    7,
  ])("is not %j", (value) => {
    expect(isDigest(value)).toBe(false);
  });
});
