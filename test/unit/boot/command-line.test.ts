// What the kernel's command line says of the root that a system was started from.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isStartedBy, namedRoot, storedRootCommandLine } from "../../../src/boot/command-line.ts";
import { checkPair } from "../../../src/boot/pair.ts";
import { digestOf } from "../../../src/oci/digest.ts";

const digest = digestOf(Buffer.from("a layer"));
const other = digestOf(Buffer.from("another layer"));
const rootHash = "5".repeat(64);
const line = storedRootCommandLine({ digest, rootHash, hashOffset: 8192, kind: "erofs" });

describe("a command line", () => {
  test("names a root in the store by its digest and its root hash", () => {
    expect(namedRoot(line)).toEqual({ rootHash, hostfs: digest });
    expect(line).toContain("mos.hostfs-offset=8192");
  });

  test("names a root in a partition by its root hash alone", () => {
    expect(namedRoot(`roothash=${rootHash} root=/dev/mapper/root ro`)).toEqual({
      rootHash,
      hostfs: undefined,
    });
  });

  test.each([
    ["", "nothing"],
    ["root=/dev/vda1 rw", "no root hash"],
    ["roothash=1234", "a root hash that is too short"],
    [line.replace("mos.hostfs=sha256:", "mos.hostfs=md5:"), "another digest"],
  ])("%o names none (%s)", (text) => expect(namedRoot(text)).toBeUndefined());

  test("is known by all of its words, and no others", () => {
    expect(isStartedBy(`${line.replaceAll(" ", "  ")}\n`, line)).toBe(true);
    expect(isStartedBy(`${line} rdinit=/nowhere`, line)).toBe(false);
    expect(isStartedBy(line, `${line} quiet`)).toBe(false);
    expect(isStartedBy(`quiet ${line}`, line)).toBe(false);
    expect(isStartedBy(line, " ")).toBe(false);
  });

  test("is never more than it says, whatever it is", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(() => namedRoot(a)).not.toThrow();
        if (isStartedBy(a, b))
          expect(namedRoot(b)?.rootHash === undefined || a.includes("roothash=")).toBe(true);
      }),
    );
  });
});

describe("a kernel image and a root", () => {
  test("belong together by digest and root hash", () => {
    expect(() => checkPair(line, { digest, rootHash, layers: 1 })).not.toThrow();
  });

  test.each([
    [{ digest: other, rootHash, layers: 1 }, "boot-pair-mismatch"],
    [{ digest, rootHash: "6".repeat(64), layers: 1 }, "boot-pair-mismatch"],
    [{ digest, rootHash, layers: 2 }, "layer-unsupported"],
  ])("are refused otherwise (%#)", (root, code) => {
    expect(() => checkPair(line, root)).toThrow(expect.objectContaining({ code }));
  });

  test("are refused when the image names no root of the store", () => {
    expect(() => checkPair(`roothash=${rootHash}`, { digest, rootHash, layers: 1 })).toThrow(
      expect.objectContaining({ code: "boot-pair-mismatch" }),
    );
  });
});
