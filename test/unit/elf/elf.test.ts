import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseElf } from "../../../src/elf/elf.ts";
import { parseLoaderCache } from "../../../src/elf/loader-cache.ts";
import type { FileBytes } from "../../../src/elf/root-tree.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { writeElf, writeLoaderCache } from "./elf-writer.ts";

/** A file in memory that refuses to be read where it has no bytes. */
function file(bytes: Uint8Array): FileBytes {
  return {
    size: bytes.length,
    read: (offset, length) => {
      if (offset < 0 || offset + length > bytes.length) throw new RangeError("read outside of the file");
      return bytes.subarray(offset, offset + length);
    },
  };
}

const program = {
  interpreter: "/lib64/ld-linux-x86-64.so.2",
  needed: ["libc.so.6", "libm.so.6"],
  runpath: "/opt/lib:$ORIGIN/../lib",
  rpath: "/old",
  soname: "libself.so.1",
  needs: { "libc.so.6": ["GLIBC_2.34", "GLIBC_2.2.5"], "libm.so.6": ["GLIBC_2.29"] },
  defines: ["SELF_1", "SELF_2"],
  noDefaultDirectories: true,
};

describe("an ELF file", () => {
  test.each([32, 64] as const)("of %i bits says what it needs", (bits) => {
    expect(parseElf(file(writeElf({ ...program, bits })), "x")).toEqual({
      bits,
      machine: 62,
      interpreter: program.interpreter,
      needed: program.needed,
      runpath: ["/opt/lib", "$ORIGIN/../lib"],
      rpath: ["/old"],
      soname: program.soname,
      neededVersions: [
        { library: "libc.so.6", versions: ["GLIBC_2.34", "GLIBC_2.2.5"] },
        { library: "libm.so.6", versions: ["GLIBC_2.29"] },
      ],
      definedVersions: new Set(["SELF_1", "SELF_2"]),
      noDefaultDirectories: true,
    });
  });

  test("of this machine is read as it is", () => {
    const elf = parseElf(file(readFileSync(process.execPath)), "node");
    expect(elf.needed).toContain("libc.so.6");
    expect(elf.neededVersions.find(({ library }) => library === "libc.so.6")?.versions).toContain(
      "GLIBC_2.2.5",
    );
  });

  test("that is static needs nothing", () => {
    expect(parseElf(file(writeElf({})), "x")).toMatchObject({ interpreter: undefined, needed: [] });
  });

  const refusal = (bytes: Uint8Array): string => {
    try {
      parseElf(file(bytes), "x");
    } catch (error) {
      if (error instanceof MosError && error.code === "program-malformed") return error.message;
      throw error;
    }
    return "none";
  };
  const changed = (at: number, value: number): Buffer => {
    const bytes = writeElf(program);
    bytes[at] = value;
    return bytes;
  };

  test.each<[string, Buffer, string]>([
    ["is text", Buffer.from("hello"), "no ELF file"],
    ["is empty", Buffer.alloc(0), "no ELF file"],
    ["ends in its header", writeElf(program).subarray(0, 40), "its header is outside of the file"],
    ["is big-endian", changed(5, 2), "not little-endian"],
    ["is of no class", changed(4, 3), "unknown class"],
    ["has its program headers elsewhere", changed(36, 0xff), "program headers is outside of the file"],
    ["has program headers of another size", changed(54, 57), "unknown size"],
    ["has thousands of program headers", changed(57, 0xff), "program headers"],
    ["is cut off", writeElf(program).subarray(0, -20), "outside of the file"],
  ])("is refused by name when it %s", (_, bytes, why) => {
    expect(refusal(bytes)).toContain(why);
  });

  test("whatever is done to it, is read or refused by name, and never read outside of", () => {
    const change = fc.record({ at: fc.nat(700), value: fc.nat(255) });
    const good = fc.constantFrom(writeElf(program), writeElf({ ...program, bits: 32 as const }));
    fc.assert(
      fc.property(good, fc.array(change, { maxLength: 8 }), fc.option(fc.nat(700)), (from, changes, cut) => {
        const bytes = Buffer.from(from);
        for (const { at, value } of changes) if (at < bytes.length) bytes[at] = value;
        refusal(cut === null ? bytes : bytes.subarray(0, cut));
      }),
      { numRuns: 3000 },
    );
  });
});

describe("the loader's cache", () => {
  const paths = [
    ["liba.so.1", "/usr/lib/one/liba.so.1"],
    ["libb.so.1", "/usr/lib/libb.so.1"],
    ["liba.so.1", "/usr/lib/two/liba.so.1"],
  ] as const;

  test("has the paths of each library, in order", () => {
    const cache = parseLoaderCache(writeLoaderCache(paths), "x");
    expect(cache.get("liba.so.1")).toEqual(["/usr/lib/one/liba.so.1", "/usr/lib/two/liba.so.1"]);
    expect(cache.get("libc.so.6")).toBeUndefined();
  });

  test("is read behind the older format, as ldconfig wrote both for years", () => {
    const old = Buffer.alloc(16 + 12 + 4);
    old.write("ld.so-1.7.0\0", "latin1");
    old.writeUInt32LE(1, 12);
    const cache = parseLoaderCache(Buffer.concat([old, writeLoaderCache(paths)]), "x");
    expect(cache.get("libb.so.1")).toEqual(["/usr/lib/libb.so.1"]);
  });

  test("whatever is done to it, is read or refused by name", () => {
    const good = writeLoaderCache(paths);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }), (changes) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        try {
          parseLoaderCache(bytes, "x");
        } catch (error) {
          if (!(error instanceof MosError) || error.code !== "program-malformed") throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});
