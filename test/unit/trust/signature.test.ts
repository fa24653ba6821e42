// Field lessons A01, A06, A14, A23: what is no signature of these bytes by this key.
import { createPrivateKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { readCertificate } from "../../../src/trust/certificate.ts";
import { verifySignedManifest } from "../../../src/trust/manifest-signature.ts";
import { readSigningKey, type SigningKey, signBytes } from "../../../src/trust/signature.ts";
import { at, bytes, codeOf, type Issued, make, rsa } from "./authority.ts";
import { rootOf } from "./roots.ts";

const manifest = bytes('{"version":1,"product":"p"}');

async function signingKeyOf({ keys }: Issued): Promise<SigningKey> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const pem = createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({
    type: "pkcs8",
    format: "pem",
  });
  return readSigningKey(pem.toString(), "test");
}

interface Setting {
  readonly root: Issued;
  readonly leaf: Issued;
  readonly key: SigningKey;
  readonly signature: Uint8Array;
}

async function setting(leafKey: ReturnType<typeof rsa> | undefined): Promise<Setting> {
  const root = await make({ ca: true });
  const leaf = await make({ issuer: root, ...(leafKey === undefined ? {} : { key: leafKey }) });
  const key = await signingKeyOf(leaf);
  return { root, leaf, key, signature: signBytes(manifest, key) };
}

function verify(
  given: Setting,
  change: { manifest?: Uint8Array; signature?: Uint8Array; pem?: Uint8Array } = {},
) {
  return verifySignedManifest(
    change.manifest ?? manifest,
    { signature: change.signature ?? given.signature, certificates: change.pem ?? bytes(given.leaf.pem) },
    rootOf([given.root]),
    at("2026-01-01"),
  );
}

let ec: Setting;
let rsaSetting: Setting;
beforeAll(async () => {
  ec = await setting(undefined);
  rsaSetting = await setting(rsa(2048));
});

const flipped = (input: Uint8Array, bit: number): Uint8Array => {
  const copy = Buffer.from(input);
  const at = (bit >> 3) % copy.length;
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << (bit & 7)), at);
  return copy;
};

describe("a signed manifest", () => {
  test("says who signed it and who vouches for the signer", () => {
    expect(verify(ec)).toMatchObject({
      anchor: {
        source: "file:/anchor.pem",
        subject: "CN=Root",
        fingerprint: readCertificate(ec.root.der).fingerprint,
      },
      chain: ["CN=Signer", "CN=Root"],
      subject: "CN=Signer",
      commonName: "Signer",
      fingerprint: readCertificate(ec.leaf.der).fingerprint,
      algorithm: "ecdsa-p256-sha256",
      notBefore: new Date("2020-01-01T00:00:00Z"),
    });
    expect(verify(rsaSetting).algorithm).toBe("rsa-pkcs1v15-sha256");
  });

  test("counts two certificates of one key as one signer", async () => {
    const renewed = await make({ issuer: ec.root, keysOf: ec.leaf, notAfter: "2041-01-01" });
    const second = verify(ec, { pem: bytes(renewed.pem) });
    expect(second.fingerprint).not.toBe(verify(ec).fingerprint);
    expect(second.keyId).toBe(verify(ec).keyId);
  });

  test("has the same signature each time when it is signed with RSA", () => {
    expect(signBytes(manifest, rsaSetting.key)).toEqual(rsaSetting.signature);
  });

  test("is refused with any bit of the manifest flipped", () => {
    for (let bit = 0; bit < manifest.length * 8; bit++) {
      expect(codeOf(() => verify(ec, { manifest: flipped(manifest, bit) }))).toBe("signature-invalid");
    }
  });

  test.each(["ec", "rsa"])("is refused with any bit of the signature flipped (%s)", (kind) => {
    const given = kind === "ec" ? ec : rsaSetting;
    for (let bit = 0; bit < given.signature.length * 8; bit++) {
      const signature = flipped(given.signature, bit);
      expect(codeOf(() => verify(given, { signature }))).toBe("signature-invalid");
    }
  });

  test("is refused with any bit of the certificate flipped", () => {
    for (let bit = 0; bit < ec.leaf.der.length * 8; bit++) {
      const base64 = Buffer.from(flipped(ec.leaf.der, bit)).toString("base64");
      const pem = bytes(`-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`);
      expect(codeOf(() => verify(ec, { pem }))).toMatch(
        /^(certificate-malformed|algorithm-refused|chain-(untrusted|constraint|not-ca))$/,
      );
    }
  });

  test("is refused with the signature of another manifest", () => {
    const signature = signBytes(bytes("{}"), ec.key);
    expect(codeOf(() => verify(ec, { signature }))).toBe("signature-invalid");
  });

  test("is refused with the certificate of another project of the same CA", async () => {
    const other = await make({ issuer: ec.root });
    expect(codeOf(() => verify(ec, { pem: bytes(other.pem) }))).toBe("signature-invalid");
  });

  test("is refused when the signature is made by the CA's own key", async () => {
    const signature = signBytes(manifest, await signingKeyOf(ec.root));
    expect(codeOf(() => verify(ec, { signature }))).toBe("signature-invalid");
  });

  test.each<[string, (given: Setting) => Uint8Array]>([
    ["with nothing for a signature", () => new Uint8Array()],
    ["with the signature twice", ({ signature }) => Buffer.concat([signature, signature])],
    ["with a byte after the signature", ({ signature }) => Buffer.concat([signature, Buffer.of(0)])],
    ["with a signature cut short", ({ signature }) => signature.subarray(0, -1)],
    ["with the signature in base64", ({ signature }) => bytes(Buffer.from(signature).toString("base64"))],
    ["with SHA-1 as the hash", ({ key }) => sign("sha1", manifest, key)],
    ["with SHA-512 as the hash", ({ key }) => sign("sha512", manifest, key)],
    ["with an HMAC-sized value", () => randomBytes(32)],
  ])("is refused %s", (_, change) => {
    for (const given of [ec, rsaSetting]) {
      expect(codeOf(() => verify(given, { signature: change(given) }))).toBe("signature-invalid");
    }
  });

  test("is refused with raw r and s instead of DER", () => {
    const signature = sign("sha256", manifest, { key: ec.key, dsaEncoding: "ieee-p1363" });
    expect(codeOf(() => verify(ec, { signature }))).toBe("signature-invalid");
  });

  test("is refused with PSS padding instead of PKCS#1 v1.5", () => {
    const signature = sign("sha256", manifest, { key: rsaSetting.key, padding: 6, saltLength: 32 });
    expect(codeOf(() => verify(rsaSetting, { signature }))).toBe("signature-invalid");
  });

  test.each([
    ["zeros", "3006020100020100"],
    ["a negative r", "30060201ff020101"],
    ["r written longer than it is", "300702020001020101"],
    [
      "r as large as the order",
      `3026022100ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551020101`,
    ],
    ["an indefinite length", "308002010102010100 00".replace(" ", "")],
    ["three numbers", "3009020101020101020101"],
  ])("is refused with %s for an ECDSA signature", (_, hex) => {
    expect(codeOf(() => verify(ec, { signature: Buffer.from(hex, "hex") }))).toBe("signature-invalid");
  });

  test("is refused with any other bytes for a signature", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (signature) => {
        expect(codeOf(() => verify(ec, { signature }))).toBe("signature-invalid");
      }),
    );
  });
});

describe("a private key", () => {
  const generated = (type: "rsa" | "ec", options: object): string => {
    const { privateKey } =
      type === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 1024, ...options })
        : generateKeyPairSync("ec", { namedCurve: "P-384", ...options });
    return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  };

  test("is taken as RSA-2048 or P-256 in PKCS#8", () => {
    expect(codeOf(() => readSigningKey(generated("ec", { namedCurve: "P-256" }), "f"))).toBe("accepted");
    expect(codeOf(() => readSigningKey(generated("rsa", { modulusLength: 2048 }), "f"))).toBe("accepted");
  });

  test.each<[string, () => string]>([
    ["RSA-1024", () => generated("rsa", {})],
    ["P-384", () => generated("ec", {})],
    [
      "Ed25519",
      () => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    ],
    ["a certificate", () => ec.leaf.pem],
    ["a damaged key", () => generated("ec", { namedCurve: "P-256" }).replace(/\n.{10}/, "\n")],
    ["the older form of an EC key", () => ecInOldForm()],
    ["an encrypted key", () => encrypted()],
  ])("is not taken as %s, and the error does not quote it", (_, key) => {
    const text = key();
    expect(codeOf(() => readSigningKey(text, "FILE"))).toBe("key-invalid");
    const secretLine = text.split("\n")[1] ?? "";
    expect(() => readSigningKey(text, "FILE")).not.toThrow(secretLine);
  });

  function ecInOldForm(): string {
    const key = createPrivateKey(generated("ec", { namedCurve: "P-256" }));
    return key.export({ type: "sec1", format: "pem" }).toString();
  }

  function encrypted(): string {
    const key = createPrivateKey(generated("ec", { namedCurve: "P-256" }));
    return key.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }).toString();
  }
});
