// The document on its way: what is written is read back, and nothing else is read.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Attestation,
  decodeAttestation,
  encodeAttestation,
  quotedPcrs,
} from "../../../src/attest/document.ts";
import type { Nonce } from "../../../src/attest/nonce.ts";
import { attestation } from "./good.ts";

const bytes = (maxLength: number, minLength = 0) => fc.uint8Array({ minLength, maxLength });
const pair = fc.record({ signature: bytes(64), certificates: bytes(64) });

const anyAttestation: fc.Arbitrary<Attestation> = fc.record(
  {
    version: fc.constant(1 as const),
    nonce: bytes(64, 16).map((value) => value as Nonce),
    quote: fc.record({ statement: bytes(200), signature: bytes(100) }),
    pcrs: fc
      .array(bytes(32, 32), { minLength: quotedPcrs.length, maxLength: quotedPcrs.length })
      .map((values) => new Map(values.map((value, at) => [quotedPcrs[at] ?? 0, value]))),
    attestationKey: bytes(100),
    device: fc.record({ certificates: bytes(100), binding: bytes(300) }),
    generation: fc.record({
      number: fc.integer({ min: 1, max: 999_999_999 }),
      manifest: bytes(200),
      signatures: fc.array(pair, { minLength: 1, maxLength: 4 }),
    }),
    firmwareLog: bytes(100),
    systemdLog: bytes(100),
  },
  { requiredKeys: ["version", "nonce", "quote", "pcrs", "attestationKey", "device"] },
);

const textOf = (document: unknown): Uint8Array => Buffer.from(JSON.stringify(document));
const good = encodeAttestation(await attestation());
const refused = expect.objectContaining({ code: "attestation-refused", about: "document" });

/** Everything as plain data, whatever kind of bytes it is. */
function plain(value: Attestation): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, item) => {
      if (item instanceof Map) return [...item];
      return item instanceof Uint8Array ? Buffer.from(item).toString("hex") : item;
    }),
    // Buffers make themselves into objects before the replacer sees them.
    (_key, item) => (item?.type === "Buffer" ? Buffer.from(item.data).toString("hex") : item),
  );
}

describe("a document", () => {
  test("is read back as it was written", () => {
    fc.assert(
      fc.property(anyAttestation, (value) => {
        const text = textOf(encodeAttestation(value));
        const back = decodeAttestation(text);
        expect(plain(back)).toEqual(plain(value));
        expect(textOf(encodeAttestation(back))).toEqual(text);
      }),
    );
  });

  test("that is anything else is refused, and nothing worse happens", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json().map(Buffer.from), bytes(100), fc.string().map(Buffer.from)), (text) => {
        expect(() => decodeAttestation(text)).toThrow(refused);
      }),
    );
  });

  test.each([
    ["of another version", { version: 2 }],
    ["with a key that nobody knows", { more: 1 }],
    ["without a nonce", { nonce: undefined }],
    ["with a short nonce", { nonce: "00".repeat(15) }],
    ["with a long nonce", { nonce: "00".repeat(65) }],
    ["with a nonce in upper case", { nonce: "AA".repeat(16) }],
    ["without PCR 7", { pcrs: { ...good.pcrs, 7: undefined } }],
    ["with one PCR more", { pcrs: { ...good.pcrs, 8: "0".repeat(64) } }],
    ["with a PCR of SHA-1", { pcrs: { ...good.pcrs, 0: "0".repeat(40) } }],
    ["with a PCR under two names", { pcrs: { ...good.pcrs, "07": "0".repeat(64) } }],
    ["with base64 that is not canonical", { attestationKey: "AB==" }],
    ["with base64 for URLs", { attestationKey: "-_-_" }],
    ["with a quote that is too large", { quote: { ...good.quote, statement: "A".repeat(4096) } }],
    ["with a generation 0", { generation: { ...good.generation, number: 0 } }],
    ["with a manifest that nobody signed", { generation: { ...good.generation, signatures: [] } }],
    ["with a log that is null", { firmwareLog: null }],
  ])("%s is refused", (_what, change) => {
    expect(() => decodeAttestation(textOf({ ...good, ...change }))).toThrow(refused);
  });

  test("with a key twice is refused", () => {
    const text = JSON.stringify(good).replace("{", '{"version":1,');
    expect(() => decodeAttestation(Buffer.from(text))).toThrow(refused);
  });

  test("of gigantic size is refused before it is read", () => {
    expect(() => decodeAttestation(new Uint8Array(32 * 1024 * 1024 + 1))).toThrow(refused);
  });
});
