// Field lessons A23 (algorithm confusion) and A24: what a single certificate may not be.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { readCertificate, readCertificates } from "../../../src/trust/certificate.ts";
import { bytes, codeOf, type Issued, make, rsa, x509 } from "./authority.ts";

const code = (der: Uint8Array): string => codeOf(() => readCertificate(der));

let good: Issued;
beforeAll(async () => {
  good = await make({ subject: "O=Example, CN=Signer" });
});

describe("a certificate", () => {
  test("is read for what decides about trust", () => {
    const certificate = readCertificate(good.der);
    expect(certificate.subject).toMatchObject({ text: "O=Example, CN=Signer", commonName: "Signer" });
    expect(certificate.notBefore.toISOString()).toBe("2020-01-01T00:00:00.000Z");
    expect(certificate.notAfter.toISOString()).toBe("2040-01-01T00:00:00.000Z");
    expect(certificate.permissions).toEqual({
      isCa: false,
      pathLength: undefined,
      keyUsage: new Set(["digitalSignature"]),
      extendedKeyUsage: ["1.3.6.1.5.5.7.3.3"],
    });
    expect(certificate.publicKey).toMatchObject({ kind: "p256", bits: 256 });
  });

  test.each([
    ["RSA-2048 with SHA-256", { key: rsa(2048) }],
    ["RSA-3072 with SHA-384", { key: rsa(3072, "SHA-384") }],
    ["RSA-2048 with SHA-512", { key: rsa(2048, "SHA-512") }],
    ["P-256 with SHA-384", { hash: "SHA-384" }],
  ])("may use %s", async (_, change) => {
    expect(code((await make(change)).der)).toBe("accepted");
  });

  test.each([
    ["RSA-1024", { key: rsa(1024) }],
    ["SHA-1", { key: rsa(2048, "SHA-1") }],
    ["RSA-PSS", { key: rsa(2048, "SHA-256", "RSA-PSS") }],
    ["P-384", { key: { name: "ECDSA", namedCurve: "P-384" } }],
    ["P-521", { key: { name: "ECDSA", namedCurve: "P-521" } }],
    ["ECDSA with SHA-512", { hash: "SHA-512" }],
    ["ECDSA with SHA-1", { hash: "SHA-1" }],
    ["Ed25519", { key: { name: "Ed25519" } }],
    ["an RSA exponent of 3", { key: { ...rsa(2048), publicExponent: new Uint8Array([3]) } }],
  ])("may not use %s", async (_, change) => {
    expect(code((await make(change)).der)).toBe("algorithm-refused");
  });

  test("may not have a critical extension that mos does not apply", async () => {
    const critical = await make({ extra: [new x509.Extension("1.2.3.4", true, Buffer.of(5, 0))] });
    expect(code(critical.der)).toBe("chain-constraint");
    const harmless = await make({ extra: [new x509.Extension("1.2.3.4", false, Buffer.of(5, 0))] });
    expect(code(harmless.der)).toBe("accepted");
  });

  test.each([[true], [false]])("may not have name constraints (critical: %s)", async (critical) => {
    const constrained = await make({
      ca: true,
      extra: [new x509.Extension("2.5.29.30", critical, Buffer.of(0x30, 0))],
    });
    expect(code(constrained.der)).toBe("chain-constraint");
  });

  test("may not have an extension twice", async () => {
    const twice = await make({ extra: [new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true)] });
    expect(code(twice.der)).toBe("certificate-malformed");
  });

  test.each([
    ["a line feed", "Signer\nadmin"],
    ["a terminal's escape", "\u001b[2JSigner"],
    ["NUL", "Signer\u0000.example"],
    ["a reversal of the line", "Sign\u202eer"],
  ])("may not have %s in its name", async (_, name) => {
    expect(code((await make({ subject: new x509.Name([{ CN: [{ utf8String: name }] }]) })).der)).toBe(
      "certificate-malformed",
    );
  });

  test("may not have two common names", async () => {
    const two = await make({ subject: [{ CN: ["Signer"] }, { CN: ["Other"] }] });
    expect(code(two.der)).toBe("certificate-malformed");
  });

  test("may not be of version 1", () => {
    const v1 = Buffer.from(good.der);
    const at = v1.indexOf(Buffer.of(0xa0, 0x03, 0x02, 0x01, 0x02));
    v1.writeUInt8(0, at + 4);
    expect(code(v1)).toBe("certificate-malformed");
  });

  test("may not have two different signature algorithms", async () => {
    const outer = Buffer.from((await make({ key: rsa(2048) })).der);
    const sha256WithRsa = Buffer.from("2a864886f70d01010b", "hex");
    outer.writeUInt8(0x0c, outer.lastIndexOf(sha256WithRsa) + 8);
    expect(code(outer)).toBe("certificate-malformed");
  });

  test("may not have an EC key that is no point of the curve", () => {
    const off = Buffer.from(good.der);
    const point = off.indexOf(Buffer.from("03420004", "hex"));
    off.writeUInt8(off.readUInt8(point + 40) ^ 1, point + 40);
    expect(code(off)).toBe("certificate-malformed");
  });

  test("may not be followed by anything", () => {
    expect(code(Buffer.concat([good.der, Buffer.of(0)]))).toBe("certificate-malformed");
  });

  test("is refused by a code, whatever bytes come", () => {
    fc.assert(
      fc.property(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 8 }), (where, patch) => {
        const broken = Buffer.from(good.der);
        broken.set(patch.slice(0, broken.length - (where % broken.length)), where % broken.length);
        expect(code(broken)).toMatch(/^(accepted|certificate-malformed|algorithm-refused|chain-constraint)$/);
      }),
      { numRuns: 500 },
    );
  });
});

describe("PEM", () => {
  const pemCode = (text: string): string => codeOf(() => readCertificates(bytes(text)));

  test("may have Windows line ends and blank lines", () => {
    expect(pemCode(`\n${good.pem.replaceAll("\n", "\r\n")}\n`)).toBe("accepted");
  });

  test("may hold several certificates, in order", () => {
    expect(readCertificates(bytes(good.pem + good.pem))).toHaveLength(2);
  });

  test.each<[string, (pem: string) => string]>([
    ["nothing", () => ""],
    ["a text before it", (pem) => `subject=Signer\n${pem}`],
    ["a text after it", (pem) => `${pem}trailing`],
    ["no end", (pem) => pem.replace("-----END CERTIFICATE-----", "")],
    ["no beginning", (pem) => pem.replace("-----BEGIN CERTIFICATE-----", "")],
    ["a beginning within it", (pem) => pem.replace("\nMII", "\n-----BEGIN CERTIFICATE-----\nMII")],
    ["a private key instead", (pem) => pem.replaceAll("CERTIFICATE", "PRIVATE KEY")],
    ["a character that is no base64", (pem) => pem.replace("MII", "M*II")],
    ["spaces in its base64", (pem) => pem.replace("MII", "M II")],
    ["bytes after the certificate", (pem) => pem.replace(/\n-----END/, "AAAA\n-----END")],
    ["nine certificates", (pem) => pem.repeat(9)],
    ["more than 64 KiB", (pem) => pem + "\n".repeat(65_536)],
  ])("may not have %s", (_, change) => {
    expect(pemCode(change(good.pem))).toBe("certificate-malformed");
  });
});
