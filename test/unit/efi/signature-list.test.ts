import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseGuid } from "../../../src/efi/guid.ts";
import {
  decodeSignatureLists,
  encodeSignatureLists,
  listOf,
  type SignatureList,
  signatureTypes,
} from "../../../src/efi/signature-list.ts";

const anyGuid = fc.uuid({ version: [1, 2, 3, 4, 5] }).map(parseGuid);
const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size });

/** Any list that the format can hold: the known types, and others with headers. */
const anyList = fc
  .oneof(
    fc.record({
      type: fc.constant(signatureTypes.x509),
      header: fc.constant(0),
      dataSize: fc.integer({ min: 1, max: 3000 }),
    }),
    fc.record({
      type: fc.constant(signatureTypes.sha256),
      header: fc.constant(0),
      dataSize: fc.constant(32),
    }),
    fc.record({ type: anyGuid, header: fc.nat(40), dataSize: fc.integer({ min: 1, max: 300 }) }),
  )
  .chain(
    ({ type, header, dataSize }): fc.Arbitrary<SignatureList> =>
      fc.record({
        type: fc.constant(type),
        header: bytes(header),
        dataSize: fc.constant(dataSize),
        entries: fc.array(fc.record({ owner: anyGuid, data: bytes(dataSize) }), { maxLength: 5 }),
      }),
  );

const plain = (lists: readonly SignatureList[]) =>
  lists.map((list) => ({
    ...list,
    header: [...list.header],
    entries: list.entries.map((entry) => ({ ...entry, data: [...entry.data] })),
  }));

const owner = parseGuid("11111111-2222-3333-4444-555566667777");
const certificate = Uint8Array.from({ length: 1200 }, (_, i) => i % 251);
const good = encodeSignatureLists([
  listOf(signatureTypes.x509, { owner, data: certificate }),
  { ...listOf(signatureTypes.sha256, { owner, data: new Uint8Array(32).fill(7) }) },
]);

describe("signature lists", () => {
  test("are read back as they were written", () => {
    fc.assert(
      fc.property(fc.array(anyList, { maxLength: 6 }), (lists) => {
        expect(plain(decodeSignatureLists(encodeSignatureLists(lists), "db"))).toEqual(plain(lists));
      }),
    );
  });

  test("of more than 4 KiB, several lists with several entries each, are read whole", () => {
    const lists = Array.from({ length: 12 }, (_, i) => ({
      type: signatureTypes.x509,
      header: new Uint8Array(),
      dataSize: 900 + i,
      entries: Array.from({ length: 3 }, (_, j) => ({
        owner,
        data: new Uint8Array(900 + i).fill(i * 3 + j),
      })),
    }));
    const encoded = encodeSignatureLists(lists);
    expect(encoded.length).toBeGreaterThan(32 * 1024);
    expect(plain(decodeSignatureLists(encoded, "db"))).toEqual(plain(lists));
  });

  test("have the bytes that the specification draws", () => {
    const text = Buffer.from(
      encodeSignatureLists([listOf(signatureTypes.x509, { owner, data: new Uint8Array([1, 2]) })]),
    ).toString("hex");
    expect(text).toBe(
      "a159c0a5e494a74a87b5ab155c2bf072" + // EFI_CERT_X509_GUID
        "2e000000" + // 46 bytes
        "00000000" +
        "12000000" + // 18 bytes each
        "11111111222233334444555566667777" +
        "0102",
    );
  });

  const with32 = (at: number, value: number): Uint8Array => {
    const copy = Buffer.from(good);
    copy.writeUInt32LE(value, at);
    return copy;
  };
  test.each([
    ["the last byte missing", good.subarray(0, -1)],
    ["a byte more", Buffer.concat([good, new Uint8Array(1)])],
    ["a list that is smaller than its head", with32(16, 27)],
    ["a list that reaches behind the end", with32(16, 0xffff_ffff)],
    ["a header that its type does not have", with32(20, 1)],
    ["entries of no size", with32(24, 0)],
    ["entries of an owner alone", with32(24, 16)],
    ["entries that do not fill the list", with32(24, 1000)],
    ["a SHA-256 hash of another size", with32(28 + 16 + 1200 + 24, 16 + 16)],
  ])("with %s are refused", (_what, bytes) => {
    expect(() => decodeSignatureLists(bytes, "db")).toThrow(
      expect.objectContaining({ code: "efi-variable-invalid", about: "db" }),
    );
  });

  test("of any bytes are read or refused, and nothing else happens", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        try {
          expect(Buffer.from(encodeSignatureLists(decodeSignatureLists(noise, "db")))).toEqual(
            Buffer.from(noise),
          );
        } catch (error) {
          expect(error).toMatchObject({ code: "efi-variable-invalid" });
        }
      }),
    );
  });
});
