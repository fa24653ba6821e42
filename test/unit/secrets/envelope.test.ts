import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  dataSizes,
  type Envelope,
  maxSecretSize,
  openSecret,
  type SecretPlace,
  sealedSize,
  sealSecret,
} from "../../../src/secrets/envelope.ts";
import { open } from "../../../src/secrets/hpke.ts";
import { readPoint } from "../../../src/secrets/point.ts";
import { softwareKey } from "./software-key.ts";

const place: SecretPlace = { product: "demo", service: "web", name: "token" };
const device = softwareKey("one device");
const secret = Buffer.from("a secret that nobody else may read");

/** What one device has to open: its part of an envelope, where it says it stands. */
interface Attempt {
  readonly place: SecretPlace;
  readonly data: Uint8Array;
  readonly sealed: Uint8Array;
  readonly device: typeof device;
}

function good(): Attempt {
  const { data, sealed } = sealSecret([device.point], place, secret);
  return { place, data, sealed: sealed[0] ?? new Uint8Array(), device };
}

const tryToOpen = (attempt: Attempt): Promise<Uint8Array> =>
  openSecret(attempt.device.agree, attempt.device.point, attempt.place, attempt);

function changed(bytes: Uint8Array, at: number, mask = 1): Uint8Array {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ mask, at);
  return copy;
}

/** The point with a y that is not on the curve. */
const offCurve = (sealed: Uint8Array): Uint8Array => changed(sealed, 64);

describe("a secret", () => {
  it("is opened by each device that it is encrypted to, whatever its bytes and its place", async () => {
    const text = fc.string({ minLength: 1, maxLength: 40 }).filter((s) => !s.includes("\0"));
    const places = fc.record({ product: text, service: text, name: text });
    const devices = fc.array(fc.string(), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        places,
        devices,
        async (bytes, where, seeds) => {
          const keys = seeds.map((seed) => softwareKey(seed));
          const { data, sealed } = sealSecret(
            keys.map(({ point }) => point),
            where,
            bytes,
          );
          for (const [i, key] of keys.entries()) {
            const part = { data, sealed: sealed[i] ?? new Uint8Array() };
            expect(await openSecret(key.agree, key.point, where, part)).toEqual(bytes);
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("may have 1 to 65536 bytes", async () => {
    for (const size of [1, maxSecretSize]) {
      const { data, sealed } = sealSecret([device.point], place, Buffer.alloc(size, 7));
      expect(data.length).toBe(size === 1 ? dataSizes.min : dataSizes.max);
      expect(await tryToOpen({ ...good(), data, sealed: sealed[0] ?? data })).toHaveLength(size);
    }
    for (const size of [0, maxSecretSize + 1]) {
      expect(() => sealSecret([device.point], place, Buffer.alloc(size))).toThrow(RangeError);
    }
  });

  it("is never encrypted the same way twice, and what is encrypted shows nothing of it", () => {
    const parts = ({ data, sealed }: Envelope) =>
      [data, ...sealed].map((b) => Buffer.from(b).toString("hex"));
    const [one, two] = [sealSecret([device.point], place, secret), sealSecret([device.point], place, secret)];
    expect(parts(one).some((part) => parts(two).includes(part))).toBe(false);
    expect(parts(one).join("")).not.toContain(secret.toString("hex"));
  });

  it.each<[string, (attempt: Attempt) => Partial<Attempt>, string]>([
    ["moved to another service", () => ({ place: { ...place, service: "db" } }), "not made for this"],
    ["moved to another product", () => ({ place: { ...place, product: "demo2" } }), "not made for this"],
    ["given another name", () => ({ place: { ...place, name: "token2" } }), "not made for this"],
    [
      "moved so that only the boundary between its names differs",
      () => ({ place: { ...place, service: "we", name: "btoken" } }),
      "not made for this",
    ],
    ["opened by another device", () => ({ device: softwareKey("another") }), "not made for this"],
    [
      "opened by another device that says it is this one",
      () => ({ device: { ...device, agree: softwareKey("another").agree } }),
      "not made for this",
    ],
    ["given with the key of another secret", () => ({ sealed: good().sealed }), "altered"],
    ["of another version", ({ data }) => ({ data: changed(data, 0, 3) }), "version that is not known"],
    ["altered in its first byte", ({ data }) => ({ data: changed(data, 1) }), "altered"],
    ["altered in its tag", ({ data }) => ({ data: changed(data, data.length - 1) }), "altered"],
    ["altered in the encrypted key", ({ sealed }) => ({ sealed: changed(sealed, 70) }), "not made for this"],
    ["altered in the key's tag", ({ sealed }) => ({ sealed: changed(sealed, 112) }), "not made for this"],
    ["sent with a point off the curve", ({ sealed }) => ({ sealed: offCurve(sealed) }), "not on the curve"],
    [
      "sent with a compressed point",
      ({ sealed }) => ({ sealed: changed(sealed, 0, 0x04 ^ 0x02) }),
      "does not begin with a point",
    ],
    ["cut short", ({ data }) => ({ data: data.subarray(0, -1) }), "altered"],
    ["cut down to its tag", ({ data }) => ({ data: data.subarray(0, 17) }), "cut short"],
    ["empty", () => ({ data: new Uint8Array(0) }), "version"],
    ["given half a key", ({ sealed }) => ({ sealed: sealed.subarray(0, 60) }), "cut short"],
    [
      "given a key with a byte more",
      ({ sealed }) => ({ sealed: Buffer.concat([sealed, sealed.subarray(0, 1)]) }),
      "too long",
    ],
    ["too long", () => ({ data: Buffer.alloc(dataSizes.max + 1, 1) }), "too long"],
  ])("does not open when it is %s", async (_what, change, why) => {
    const attempt = good();
    expect(Buffer.from(await tryToOpen(attempt))).toEqual(secret);
    await expect(tryToOpen({ ...attempt, ...change(attempt) })).rejects.toThrow(SyntaxError);
    await expect(tryToOpen({ ...attempt, ...change(attempt) })).rejects.toThrow(why);
  });

  it("does not open when any one bit of it is flipped", async () => {
    const attempt = good();
    const bits = fc.tuple(fc.constantFrom("data", "sealed"), fc.nat(), fc.integer({ min: 0, max: 7 }));
    await fc.assert(
      fc.asyncProperty(bits, async ([part, at, bit]) => {
        const bytes = part === "data" ? attempt.data : attempt.sealed;
        const broken = { ...attempt, [part]: changed(bytes, at % bytes.length, 1 << bit) };
        await expect(tryToOpen(broken)).rejects.toThrow(SyntaxError);
      }),
    );
  });

  it("does not open when it is whatever bytes", async () => {
    const bytes = fc.uint8Array({ maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(bytes, bytes, async (data, sealed) => {
        await expect(tryToOpen({ place, data, sealed, device })).rejects.toThrow(SyntaxError);
      }),
    );
  });
});

describe("the encryption to a device", () => {
  // The key pair is that of RFC 9180's published test vectors for this suite (kem 0x0010, kdf 0x0001, aead 0x0002);
  // the message was made by another implementation, the HPKE of Python's `cryptography` 48.
  const recipient = softwareKey(
    "",
    Buffer.from("317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2", "hex"),
  );
  const point =
    "04abc7e49a4c6b3566d77d0304addc6ed0e98512ffccf505e6a8e3eb25c685136f853148544876de76c0f2ef99cdc3a05ccf5ded7860c7c021238f9e2073d2356c";
  const message =
    "0429f172f0a6b18d12dd701e699cbb12c965b2e989491bb0d7e76d27d1e52d91bb2b0092b33acb097c03abe50c9b50de89cac9bc43ffca6a41d0abc44f527a789ae411486e3e4ac9c1f5aaab07e0519c55f7262d5cb1f310de0274d1c91faf28cf63b1760e83678770554700c7336f3cff";

  it("is that of RFC 9180, as other programs do it", async () => {
    expect(Buffer.from(recipient.point).toString("hex")).toBe(point);
    const context = { info: Buffer.from("mos secret v1\0demo\0web\0token"), aad: new Uint8Array(0) };
    const sealed = Buffer.from(message, "hex");
    expect(sealed).toHaveLength(sealedSize);
    const opened = await open(recipient.agree, recipient.point, context, sealed);
    expect(Buffer.from(opened).toString()).toBe("a key of 32 bytes is sealed here");
  });
});

describe("a point of P-256", () => {
  it("is refused when it is not on the curve, not uncompressed, or of another length", () => {
    const bytes = Buffer.from(device.point);
    expect(readPoint(bytes)).toEqual(device.point);
    const x = createHash("sha256").update("x").digest();
    for (const broken of [
      offCurve(bytes),
      Buffer.alloc(65),
      Buffer.concat([Buffer.of(4), x, x]),
      bytes.subarray(0, 64),
      Buffer.concat([bytes, Buffer.of(0)]),
      Buffer.concat([Buffer.of(2), bytes.subarray(1, 33)]),
      Buffer.concat([Buffer.of(4), Buffer.alloc(64, 0xff)]),
    ]) {
      expect(() => readPoint(broken)).toThrow(SyntaxError);
    }
  });
});
