// Field lessons A23 (algorithms) and S12 of the published system: a signature counts for the bytes it was made over.
import { createHash, createPrivateKey } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { authenticodeDigest, decodeAuthenticode, oids, signaturesOf } from "../../../src/efi/authenticode.ts";
import { parsePe } from "../../../src/efi/pe.ts";
import { signImage } from "../../../src/efi/sign-image.ts";
import { verifyImage } from "../../../src/efi/verify-image.ts";
import { encodeWinCertificate } from "../../../src/efi/win-certificate.ts";
import type { Certificate } from "../../../src/trust/certificate.ts";
import { type DerElement, readDer } from "../../../src/trust/der.ts";
import { derElement, derOidOf } from "../../../src/trust/der-writer.ts";
import { readSigningKey } from "../../../src/trust/signature.ts";
import { codeOf, make } from "../trust/authority.ts";
import { type FirmwareKey, firmwareKey } from "./firmware-keys.ts";
import { patched, places, text, writePe } from "./pe-writer.ts";

const unsigned = writePe([
  { name: ".text", content: text("code") },
  { name: ".cmdline", content: text("quiet") },
]);

let db: FirmwareKey;
let other: FirmwareKey;
let ca: FirmwareKey;
let issued: FirmwareKey;
let signed: Uint8Array;
beforeAll(async () => {
  [db, other] = await Promise.all([
    firmwareKey({ subject: "CN=UEFI DB" }),
    firmwareKey({ subject: "CN=Other" }),
  ]);
  ca = await firmwareKey({ ca: true, subject: "CN=Vendor CA" });
  issued = await firmwareKey({ issuer: ca.issued, subject: "CN=Vendor UKI" });
  signed = sign(unsigned, db);
});

const sign = (image: Uint8Array, { key, certificate }: FirmwareKey): Uint8Array =>
  signImage(image, key, certificate, "x.efi");
const verify = (image: Uint8Array, ...trusted: readonly Certificate[]) =>
  verifyImage(parsePe(image, "x.efi"), trusted);
const verdict = (image: Uint8Array, ...trusted: readonly Certificate[]): string =>
  codeOf(() => verify(image, ...trusted));

/** The image with another PKCS#7 in the place of its own. */
function withPkcs7(image: Uint8Array, ...pkcs7: readonly Uint8Array[]): Uint8Array {
  const { offset } = parsePe(image, "x.efi").certificates;
  const table = Buffer.concat(pkcs7.map(encodeWinCertificate));
  return patched(Buffer.concat([image.subarray(0, offset), table]), places.certificateSize, table.length);
}
const pkcs7Of = (image: Uint8Array): Uint8Array =>
  signaturesOf(parsePe(image, "x.efi"))[0] ?? new Uint8Array();

/** The same DER with some elements replaced; `change` sees each with how many like it came before. */
function rewritten(bytes: Uint8Array, change: (element: DerElement) => Uint8Array | undefined): Uint8Array {
  const rewrite = (element: DerElement): Uint8Array =>
    change(element) ??
    (element.children === undefined
      ? element.raw
      : derElement(element.tag, ...element.children.map(rewrite)));
  return rewrite(readDer(bytes));
}

/** Replaces the n-th element with these bytes. */
function replaced(bytes: Uint8Array, from: Uint8Array, to: Uint8Array, which: number): Uint8Array {
  let seen = 0;
  return rewritten(bytes, (element) =>
    Buffer.compare(element.raw, from) === 0 && seen++ === which ? to : undefined,
  );
}

describe("the digest of an image", () => {
  test("covers all of the file but the checksum and the place of the signature", () => {
    const digest = (bytes: Uint8Array): string =>
      Buffer.from(authenticodeDigest(parsePe(bytes, "x.efi"))).toString("hex");
    const covered = Buffer.concat([
      unsigned.subarray(0, places.checksum),
      unsigned.subarray(places.checksum + 4, places.certificateOffset),
      unsigned.subarray(places.certificateOffset + 8),
    ]);
    const expected = createHash("sha256").update(covered).digest("hex");
    expect([digest(unsigned), digest(patched(unsigned, places.checksum, 77)), digest(signed)]).toEqual([
      expected,
      expected,
      expected,
    ]);
  });

  test("is the same before and after signing, whatever length the file has", () => {
    for (let length = 0; length < 9; length++) {
      const image = writePe([{ name: ".text", content: text("code") }], new Uint8Array(length).fill(1));
      const signedImage = sign(image, db);
      expect(Buffer.from(authenticodeDigest(parsePe(signedImage, "x.efi")))).toEqual(
        Buffer.from(authenticodeDigest(parsePe(image, "x.efi"))),
      );
      expect(verdict(signedImage, db.certificate)).toBe("accepted");
    }
  });
});

describe("a signed program", () => {
  test("is vouched for by the certificate that signed it", () => {
    const { certificate, anchor } = verify(signed, other.certificate, db.certificate);
    expect([certificate.subject.text, anchor.subject.text]).toEqual(["CN=UEFI DB", "CN=UEFI DB"]);
  });

  test("is vouched for by the CA of the certificate that signed it", () => {
    const { certificate, anchor } = verify(sign(unsigned, issued), ca.certificate);
    expect([certificate.subject.text, anchor.subject.text]).toEqual(["CN=Vendor UKI", "CN=Vendor CA"]);
  });

  test("is the same file again when it is signed again", () => {
    expect(Buffer.from(sign(unsigned, db))).toEqual(Buffer.from(signed));
    expect(Buffer.from(sign(signed, db))).toEqual(Buffer.from(signed));
  });

  test("may be signed by a second key, and both count", () => {
    const twice = sign(signed, other);
    expect(verify(twice, db.certificate).certificate.subject.text).toBe("CN=UEFI DB");
    expect(verify(twice, other.certificate).certificate.subject.text).toBe("CN=Other");
    expect(verdict(twice, ca.certificate)).toBe("efi-signature-invalid");
  });

  test("is not signed with a key that firmware does not know", async () => {
    const { keys } = await make({});
    const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
    const pem = createPrivateKey({ key: der, format: "der", type: "pkcs8" }).export({
      type: "pkcs8",
      format: "pem",
    });
    const key = readSigningKey(pem.toString(), "test");
    expect(codeOf(() => signImage(unsigned, key, db.certificate, "x.efi"))).toBe("key-invalid");
  });
});

describe("a program is refused", () => {
  test("without a signature", () => {
    expect(verdict(unsigned, db.certificate)).toBe("efi-signature-missing");
  });

  test("signed by another key", () => {
    expect(verdict(signed, other.certificate)).toBe("efi-signature-invalid");
    expect(verdict(sign(unsigned, other), db.certificate)).toBe("efi-signature-invalid");
  });

  test("under another CA of the same name", async () => {
    const twin = await firmwareKey({ ca: true, subject: "CN=Vendor CA" });
    expect(verdict(sign(unsigned, issued), twin.certificate)).toBe("efi-signature-invalid");
  });

  test("through a certificate that is no CA", async () => {
    const child = await firmwareKey({ issuer: db.issued, subject: "CN=Child" });
    expect(verdict(sign(unsigned, child), db.certificate)).toBe("efi-signature-invalid");
  });

  test("with the signature of another program", () => {
    const another = writePe([
      { name: ".text", content: text("evil") },
      { name: ".cmdline", content: text("quiet") },
    ]);
    expect(verdict(withPkcs7(sign(another, other), pkcs7Of(signed)), db.certificate)).toBe(
      "efi-signature-invalid",
    );
  });

  test("with its own digest put into the signature of another program", () => {
    const another = writePe([{ name: ".text", content: text("evil") }]);
    const digestOf = (image: Uint8Array) => derElement(0x04, authenticodeDigest(parsePe(image, "x.efi")));
    const forged = replaced(pkcs7Of(signed), digestOf(signed), digestOf(another), 0);
    expect(verdict(withPkcs7(sign(another, other), forged), db.certificate)).toBe("efi-signature-invalid");
  });

  test("with any byte changed but those of the checksum", () => {
    const accepted: number[] = [];
    for (let at = 0; at < signed.length; at++) {
      const copy = Buffer.from(signed);
      copy[at] = (copy[at] ?? 0) ^ 0x01;
      const code = verdict(copy, db.certificate);
      if (code === "accepted") accepted.push(at);
      else expect(["efi-image-malformed", "efi-signature-invalid", "algorithm-refused"]).toContain(code);
    }
    expect(accepted).toEqual([0, 1, 2, 3].map((byte) => places.checksum + byte));
  }, 60_000);

  test("with a byte more, or with any part of the end missing", () => {
    expect(verdict(Buffer.concat([signed, new Uint8Array(8)]), db.certificate)).toBe("efi-image-malformed");
    for (const length of [1, 8, 100, 700]) {
      expect(verdict(signed.subarray(0, -length), db.certificate)).toBe("efi-image-malformed");
    }
  });

  const sha256 = derOidOf(oids.sha256);
  test.each([
    ["SHA-1 among the digest algorithms", 0],
    ["a SHA-1 digest of the image", 1],
    ["a SHA-1 digest of the signer", 2],
  ])("with %s (A23)", (_what, which) => {
    const weak = replaced(pkcs7Of(signed), sha256, derOidOf("1.3.14.3.2.26"), which);
    expect(verdict(withPkcs7(signed, weak), db.certificate)).toBe("algorithm-refused");
  });

  test("with another signature algorithm (A23)", () => {
    const pss = replaced(pkcs7Of(signed), derOidOf(oids.rsaEncryption), derOidOf("1.2.840.113549.1.1.10"), 1);
    expect(verdict(withPkcs7(signed, pss), db.certificate)).toBe("algorithm-refused");
  });

  test("with something behind the PKCS#7 (A23)", () => {
    const longer = Buffer.concat([pkcs7Of(signed), Uint8Array.of(1)]);
    expect(verdict(withPkcs7(signed, longer), db.certificate)).toBe("efi-signature-invalid");
    const zeros = Buffer.concat([pkcs7Of(signed), new Uint8Array(8)]);
    expect(verdict(withPkcs7(signed, zeros), db.certificate)).toBe("efi-signature-invalid");
  });

  test("with a bad signature, even when a good one of an untrusted key is behind it", () => {
    const image = withPkcs7(signed, pkcs7Of(sign(unsigned, other)), pkcs7Of(sign(unsigned, ca)));
    expect(verdict(image, db.certificate)).toBe("efi-signature-invalid");
  });
});

test("zeros that a signer counted as part of the signature are no reason to refuse it", () => {
  const table = Buffer.concat([pkcs7Of(signed), new Uint8Array(3)]);
  expect(verdict(withPkcs7(signed, table), db.certificate)).toBe("accepted");
});

test("time stamps within time stamps, as large vendors add them, are no reason to refuse it", () => {
  const nested = (levels: number): Uint8Array =>
    levels === 0 ? derElement(0x05) : derElement(0x30, nested(levels - 1));
  const version1 = derElement(0x02, Uint8Array.of(1));
  /** With unsigned attributes behind everything else of the SignerInfo, the second element that begins so. */
  const stamped = (levels: number): Uint8Array =>
    rewritten(pkcs7Of(signed), ({ tag, children = [] }) => {
      const isSignerInfo =
        tag === 0x30 && children.length === 6 && Buffer.compare(children[0]?.raw ?? signed, version1) === 0;
      return isSignerInfo
        ? derElement(0x30, ...children.map(({ raw }) => raw), derElement(0xa1, nested(levels)))
        : undefined;
    });
  expect(pkcs7Of(signed).length).toBeLessThan(stamped(20).length);
  expect(verdict(withPkcs7(signed, stamped(20)), db.certificate)).toBe("accepted");
  expect(verdict(withPkcs7(signed, stamped(40)), db.certificate)).toBe("efi-signature-invalid");
});

test("any bytes in the place of a signature are read or refused, and nothing else happens", () => {
  const good = pkcs7Of(signed);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, value, length) => {
      const copy = Buffer.from(good);
      copy[at] = value;
      try {
        decodeAuthenticode(copy.subarray(0, length));
      } catch (error) {
        const isRefusal = error instanceof SyntaxError || (error instanceof Error && "code" in error);
        expect(isRefusal, String(error)).toBe(true);
      }
    }),
    { numRuns: 1000 },
  );
});
