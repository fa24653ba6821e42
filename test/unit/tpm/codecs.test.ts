import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readQuoteStatement, writeQuoteStatement } from "../../../src/tpm/attest.ts";
import { decodeAll, encode, type Reader, type Writer } from "../../../src/tpm/buffer.ts";
import { curves } from "../../../src/tpm/constants.ts";
import { digestSizes, type HashName } from "../../../src/tpm/hashes.ts";
import { nvIndex, readNvPublic, writeNvPublic } from "../../../src/tpm/nv-public.ts";
import { readPcrSelections, selectPcrs, writePcrSelections } from "../../../src/tpm/pcr-selection.ts";
import {
  decodeSizedPublic,
  encodeSizedPublic,
  type Public,
  readPublic,
  type Scheme,
  writePublic,
} from "../../../src/tpm/public.ts";
import { readSignature, signatureOfBytes, writeSignature } from "../../../src/tpm/signature.ts";

const keysOf = <T extends object>(table: T) => Object.keys(table) as (keyof T)[];

const hash: fc.Arbitrary<HashName> = fc.constantFrom(...keysOf(digestSizes));
const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);
const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
const upTo = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });

const symmetric = fc.option(fc.record({ algorithm: fc.constant("aes" as const), bits: u16, mode: u16 }), {
  nil: undefined,
});
const scheme: fc.Arbitrary<Scheme | undefined> = fc.option(
  fc.record({ scheme: fc.constantFrom("rsassa", "rsapss", "oaep", "ecdsa", "ecdh"), hash }),
  { nil: undefined },
);
const common = { nameHash: hash, attributes: u32, authPolicy: upTo(64) };
const anyPublic: fc.Arbitrary<Public> = fc.oneof(
  fc.record({
    ...{ type: fc.constant("rsa" as const), ...common, symmetric, scheme },
    ...{ bits: u16, exponent: u32, modulus: upTo(512) },
  }),
  fc.record({
    ...{ type: fc.constant("ecc" as const), ...common, symmetric, scheme },
    ...{ curve: fc.constantFrom(...keysOf(curves)), x: upTo(66), y: upTo(66) },
  }),
  fc.record({ type: fc.constant("keyedHash" as const), ...common, unique: upTo(512) }),
);
const anyNvPublic = fc.record({
  index: fc.integer({ min: 0x01000000, max: 0x01ffffff }).map(nvIndex),
  ...{ nameHash: hash, attributes: u32, authPolicy: upTo(64), size: u16 },
});
const selection = fc.tuple(hash, fc.array(fc.nat(23))).map(([bank, pcrs]) => selectPcrs(bank, pcrs));
const selections = fc.array(selection, { maxLength: 4 });
const signature = fc.oneof(
  fc.record({ scheme: fc.constantFrom("rsassa" as const, "rsapss" as const), hash, signature: upTo(512) }),
  fc.record({ scheme: fc.constant("ecdsa" as const), hash, r: upTo(66), s: upTo(66) }),
);
const statement = fc.record({
  ...{ signer: upTo(66), extraData: upTo(64), clock: u64, resetCount: u32, restartCount: u32 },
  ...{ clockSafe: fc.boolean(), firmwareVersion: u64, selections, pcrDigest: upTo(64) },
});

interface Codec<T> {
  readonly values: fc.Arbitrary<T>;
  readonly write: (writer: Writer, value: T) => void;
  readonly read: (reader: Reader) => T;
}
const codec = <T>(values: fc.Arbitrary<T>, write: Codec<T>["write"], read: Codec<T>["read"]) => {
  return { values, write, read } as Codec<unknown>;
};
const codecs = {
  "a public area": codec(anyPublic, writePublic, readPublic),
  "an NV public area": codec(anyNvPublic, writeNvPublic, readNvPublic),
  "a selection of PCRs": codec(selections, writePcrSelections, readPcrSelections),
  "a signature": codec(signature, writeSignature, readSignature),
  "a quote's statement": codec(statement, writeQuoteStatement, readQuoteStatement),
  "a sized public area": codec(
    anyPublic,
    (writer, value) => writer.raw(encodeSizedPublic(value)),
    (reader) => decodeSizedPublic(reader.rest()),
  ),
  numbers: codec(
    fc.tuple(u8, u16, u32, u64, upTo(300)),
    (writer, [a, b, c, d, e]) => writer.u8(a).u16(b).u32(c).u64(d).sized(e),
    (reader): [number, number, number, bigint, Uint8Array] => [
      ...([reader.u8(), reader.u16(), reader.u32()] as const),
      reader.u64(),
      reader.sized(),
    ],
  ),
};

describe.for(Object.entries(codecs))("%s", ([, { values, write, read }]) => {
  test("comes back from its bytes as it was", () => {
    fc.assert(
      fc.property(values, (value) => {
        expect(
          decodeAll(
            encode((writer) => write(writer, value)),
            read,
          ),
        ).toEqual(value);
      }),
    );
  });

  test("is refused when it is cut short or followed by something", () => {
    fc.assert(
      fc.property(values, fc.nat(), u8, (value, cut, byte) => {
        const good = encode((writer) => write(writer, value));
        expect(() => decodeAll(good.subarray(0, cut % good.length), read)).toThrow(SyntaxError);
        expect(() => decodeAll(Buffer.concat([good, Buffer.of(byte)]), read)).toThrow(SyntaxError);
      }),
    );
  });

  test("made of any bytes encodes to the same bytes, or is refused", () => {
    fc.assert(
      fc.property(values, fc.nat(), u8, (value, at, byte) => {
        const bytes = encode((writer) => write(writer, value));
        const altered = bytes.with(at % bytes.length, byte);
        try {
          const again = encode((writer) => write(writer, decodeAll(altered, read)));
          // A bitmap of PCRs may be longer than it need be.
          if (again.length === altered.length) expect(again).toEqual(altered);
        } catch (error) {
          expect(error).toBeInstanceOf(SyntaxError);
        }
      }),
    );
  });
});

describe("a writer", () => {
  test("holds whatever is written to it, however long", () => {
    fc.assert(
      fc.property(fc.array(upTo(600), { maxLength: 5 }), (pieces) => {
        const written = encode((writer) => {
          for (const piece of pieces) writer.sizedBy(() => writer.raw(piece));
        });
        const back = decodeAll(written, (reader) => pieces.map(() => reader.sized()));
        expect(back).toEqual(pieces);
      }),
    );
  });

  test("refuses a buffer that no TPM2B can hold", () => {
    expect(() => encode((writer) => writer.sized(new Uint8Array(0x10000)))).toThrow(RangeError);
  });
});

describe("the DER of an ECDSA signature", () => {
  const good = Uint8Array.of(0x30, 9, 2, 2, 0, 0x80, 2, 3, 0x7f, 1, 2);

  test("gives its two numbers", () => {
    const { r, s } = { r: undefined, s: undefined, ...signatureOfBytes("ecc", good) };
    expect([r, s]).toEqual([Uint8Array.of(0x80), Uint8Array.of(0x7f, 1, 2)]);
  });

  test.for([
    ["cut short", good.subarray(0, -1)],
    ["followed by something", Uint8Array.of(...good, 0)],
    ["with a third number", Uint8Array.of(0x30, 12, ...good.subarray(2), 2, 1, 1)],
    ["with one number", Uint8Array.of(0x30, 4, ...good.subarray(2, 6))],
    ["with a negative number", good.with(8, 0x80)],
    ["with a number that is not minimal", good.with(5, 0x7f)],
    ["with another tag", good.with(0, 0x31)],
    ["with another tag of a number", good.with(2, 3)],
    ["that is empty", new Uint8Array(0)],
  ] as const)("%s is refused", ([, bytes]) => {
    expect(() => signatureOfBytes("ecc", bytes)).toThrow(SyntaxError);
  });
});
