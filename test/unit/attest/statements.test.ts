// What is signed, byte for byte: somebody else's verifier has to come to the same bytes.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { freshNonce, type Nonce, parseNonce } from "../../../src/attest/nonce.ts";
import { bindingStatement, qualifyingData, quotedStatement } from "../../../src/attest/statements.ts";
import { parseSystemdLog } from "../../../src/attest/systemd-log.ts";
import { sha256 } from "../../../src/efi/measured.ts";
import type { Name } from "../../../src/tpm/names.ts";
import { systemdLog } from "./good.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const nonce = Buffer.alloc(16, 0xaa) as Uint8Array as Nonce;
const key = Buffer.concat([Buffer.of(0, 0x0b), Buffer.alloc(32, 0xbb)]) as Uint8Array as Name;

describe("the quoted statement", () => {
  test("is the table at the head of its file", () => {
    const generation = { number: 0x1234, manifest: Buffer.from("manifest") };
    const fields = [
      ["00000012", hex(Buffer.from("mos attestation v1"))],
      ["00000010", "aa".repeat(16)],
      ["00000020", hex(sha256(Buffer.from("manifest")))],
      ["00000008", "0000000000001234"],
      ["00000022", `000b${"bb".repeat(32)}`],
    ];
    const statement = quotedStatement(nonce, generation, key);
    expect(hex(statement)).toBe(fields.flat().join(""));
    expect(hex(qualifyingData(nonce, generation, key))).toBe(hex(sha256(statement)));
  });

  test("has zeros where nothing was applied", () => {
    const statement = hex(quotedStatement(nonce, undefined, key));
    expect(statement).toContain(`00000020${"00".repeat(32)}00000008${"00".repeat(8)}`);
  });

  test("differs whenever anything in it does", () => {
    const nonces = fc.uint8Array({ minLength: 16, maxLength: 20 });
    const generations = fc.option(
      fc.record({ number: fc.integer({ min: 1, max: 3 }), manifest: fc.uint8Array({ maxLength: 1 }) }),
      { nil: undefined },
    );
    const wanted = fc.tuple(nonces, generations, fc.uint8Array({ maxLength: 2 }));
    const plain = ([n, g, k]: [
      Uint8Array,
      { number: number; manifest: Uint8Array } | undefined,
      Uint8Array,
    ]) => JSON.stringify([hex(n), g && [g.number, hex(g.manifest)], hex(k)]);
    fc.assert(
      fc.property(wanted, wanted, (a, b) => {
        const [one, other] = [a, b].map(([n, g, k]) => hex(quotedStatement(n as Nonce, g, k as Name)));
        expect(one === other).toBe(plain(a) === plain(b));
      }),
    );
  });
});

test("the statement that vouches for a key is another one", () => {
  const asked = Buffer.alloc(32, 0xcc);
  const fields = [
    ["00000016", hex(Buffer.from("mos attestation key v1"))],
    ["00000022", `000b${"bb".repeat(32)}`],
    ["00000020", "cc".repeat(32)],
  ];
  expect(hex(bindingStatement(key, asked))).toBe(fields.flat().join(""));
});

describe("a nonce", () => {
  test("is fresh each time, and read back", () => {
    const [one, other] = [hex(freshNonce()), hex(freshNonce())];
    expect(one).toMatch(/^[0-9a-f]{64}$/);
    expect(one).not.toBe(other);
    expect(hex(parseNonce(one.toUpperCase()))).toBe(one);
  });

  test.each(["", "00".repeat(15), "00".repeat(65), "0".repeat(33), "zz".repeat(16), ` ${"00".repeat(16)}`])(
    "%j is none",
    (text) => {
      expect(() => parseNonce(text)).toThrow(expect.objectContaining({ code: "usage" }));
    },
  );
});

describe("systemd's log", () => {
  test("is read in its order", () => {
    const log = systemdLog([11, "enter-initrd"], [15, "machine-id"], [11, "leave-initrd"]);
    expect(parseSystemdLog(log)?.map(({ pcr, text }) => [pcr, text])).toEqual([
      [11, "enter-initrd"],
      [15, "machine-id"],
      [11, "leave-initrd"],
    ]);
    expect(parseSystemdLog(new Uint8Array())).toEqual([]);
  });

  test("may have records that are about no PCR", () => {
    const nv = Buffer.from('\x1e{"nv_index":29360129,"digests":[]}\n');
    expect(parseSystemdLog(Buffer.concat([nv, systemdLog([11, "ready"])]))).toHaveLength(1);
  });

  test.each([
    ["a record of another hash only", '\x1e{"pcr":11,"digests":[{"hashAlg":"sha1","digest":"00"}]}\n'],
    ["a record of PCR 24", `\x1e{"pcr":24,"digests":[{"hashAlg":"sha256","digest":"${"00".repeat(32)}"}]}\n`],
    ["a short digest", '\x1e{"pcr":11,"digests":[{"hashAlg":"sha256","digest":"00"}]}\n'],
    ["half a record", '\x1e{"pcr":11,'],
    ["something that is no record", "\x1e[]\n"],
    ["text before the first record", 'x\x1e{"pcr":11}\n'],
  ])("with %s explains nothing", (_what, text) => {
    expect(parseSystemdLog(Buffer.from(text))).toBeUndefined();
  });

  test("is never worse than unreadable", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map((json) => Buffer.from(`\x1e${json}\n`)),
        ),
        (bytes) => {
          parseSystemdLog(bytes);
        },
      ),
    );
  });
});
