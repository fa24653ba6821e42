import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type DerElement, readDer, tags } from "../../../src/trust/der.ts";
import { derBitString, derBoolean, derInteger, derOid, derTime } from "../../../src/trust/der-values.ts";

type Tree = { readonly content: Uint8Array } | { readonly children: readonly Tree[] };

function encode(tag: number, content: Uint8Array): Uint8Array {
  const size: number[] = [];
  for (let left = content.length; left > 0; left >>= 8) size.unshift(left & 0xff);
  const length = content.length < 0x80 ? [content.length] : [0x80 | size.length, ...size];
  return new Uint8Array([tag, ...length, ...content]);
}

function encodeTree(tree: Tree): Uint8Array {
  if ("content" in tree) return encode(tags.octetString, tree.content);
  return encode(tags.sequence, Buffer.concat(tree.children.map(encodeTree)));
}

function asTree({ content, children }: DerElement): Tree {
  return children === undefined ? { content: new Uint8Array(content) } : { children: children.map(asTree) };
}

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    fc.record({ content: fc.uint8Array({ maxLength: 300 }) }),
    fc.record({ children: fc.array(tie("tree"), { maxLength: 4 }) }),
  ),
}));

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("the DER reader", () => {
  test("reads back whatever was encoded", () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(asTree(readDer(encodeTree(value)))).toEqual(value);
      }),
    );
  });

  test("refuses every encoding that is cut short or followed by something", () => {
    fc.assert(
      fc.property(tree, fc.nat(), fc.integer({ min: 0, max: 255 }), (value, cut, byte) => {
        const good = encodeTree(value);
        expect(() => readDer(good.subarray(0, cut % good.length))).toThrow(SyntaxError);
        expect(() => readDer(Buffer.concat([good, Buffer.of(byte)]))).toThrow(SyntaxError);
      }),
    );
  });

  test("answers any bytes with elements that fill them exactly, or with a SyntaxError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (input) => {
        try {
          expect(readDer(input).raw).toEqual(input);
        } catch (error) {
          expect(error).toBeInstanceOf(SyntaxError);
        }
      }),
    );
  });

  test.each([
    ["an indefinite length", "30 80 00 00"],
    ["a long form that the short one could say", "04 81 01 61"],
    ["a length with a leading zero", `04 82 00 80 ${"61".repeat(128)}`],
    ["a length of five octets", "04 85 01 00 00 00 00"],
    ["a multi-byte tag", "1f 81 01 00"],
    ["a constructed string", "24 03 04 01 61"],
    ["a primitive sequence", "10 00"],
    ["an element longer than the sequence around it", "30 03 04 02 61"],
    ["nothing", ""],
  ])("refuses %s", (_, encoded) => expect(() => readDer(hex(encoded))).toThrow(SyntaxError));

  test("refuses nesting without end", () => {
    let nested: Uint8Array = new Uint8Array();
    for (let depth = 0; depth < 40; depth++) nested = encode(tags.sequence, nested);
    expect(() => readDer(nested)).toThrow("nested deeper");
  });

  test("refuses elements without number", () => {
    expect(() => readDer(encode(tags.sequence, Buffer.alloc(10_000, hex("05 00"))))).toThrow("more than");
  });
});

const element = (tag: number, content: Uint8Array): DerElement => readDer(encode(tag, content));

function twosComplement(value: bigint): Uint8Array {
  let size = 1;
  while (BigInt.asIntN(8 * size, value) !== value) size++;
  const digits = BigInt.asUintN(8 * size, value).toString(16);
  return hex(digits.padStart(2 * size, "0"));
}

describe("the DER values", () => {
  test("are integers of any size and sign", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(1n << 200n), max: 1n << 200n }), (value) => {
        expect(derInteger(element(tags.integer, twosComplement(value)))).toBe(value);
      }),
    );
  });

  test.each([["00 01"], ["ff ff"], [""]])(
    "do not take the integer %s, which has a shorter form or none",
    (content) => expect(() => derInteger(element(tags.integer, hex(content)))).toThrow(SyntaxError),
  );

  test.each([
    ["1.2.840.113549.1.1.11", "2a 86 48 86 f7 0d 01 01 0b"],
    ["2.5.29.19", "55 1d 13"],
    ["2.999.3", "88 37 03"],
  ])("are the object identifier %s", (text, content) =>
    expect(derOid(element(tags.oid, hex(content)))).toBe(text),
  );

  test.each([["2a 80 01"], ["2a 86"], [""]])("do not take the object identifier %s", (content) =>
    expect(() => derOid(element(tags.oid, hex(content)))).toThrow(SyntaxError),
  );

  test.each([["01"], ["00 00"], [""]])("do not take the boolean %s", (content) =>
    expect(() => derBoolean(element(tags.boolean, hex(content)))).toThrow(SyntaxError),
  );

  test.each([["08 00"], ["01"], ["01 01"], [""]])("do not take the bit string %s", (content) =>
    expect(() => derBitString(element(tags.bitString, hex(content)))).toThrow(SyntaxError),
  );

  test.each([
    [tags.utcTime, "491231235959Z", "2049-12-31T23:59:59.000Z"],
    [tags.utcTime, "500101000000Z", "1950-01-01T00:00:00.000Z"],
    [tags.generalizedTime, "20991231230000Z", "2099-12-31T23:00:00.000Z"],
    [tags.utcTime, "240229000000Z", "2024-02-29T00:00:00.000Z"],
  ])("are the time %i %s", (tag, text, iso) =>
    expect(derTime(element(tag, Buffer.from(text))).toISOString()).toBe(iso),
  );

  test.each([
    [tags.utcTime, "230229000000Z"],
    [tags.utcTime, "231301000000Z"],
    [tags.utcTime, "230101240000Z"],
    [tags.utcTime, "2301010000Z"],
    [tags.utcTime, "230101000000+0100"],
    [tags.generalizedTime, "20230101000000.5Z"],
    [tags.generalizedTime, "230101000000Z"],
    [tags.octetString, "230101000000Z"],
  ])("do not take the time %i %s", (tag, text) =>
    expect(() => derTime(element(tag, Buffer.from(text)))).toThrow(SyntaxError),
  );
});
