// Attacks A14 (too few keys), A15 (rotation) and A16 (revocation).
import { createHash, KeyObject, sign } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { keyIdOf, readCertificate } from "../../../src/trust/certificate.ts";
import {
  foldRecord,
  handOver,
  type TrustChange,
  type TrustRecord,
  walkRecord,
} from "../../../src/trust/handover.ts";
import { type SignaturePair, verifyManifest } from "../../../src/trust/manifest-signature.ts";
import { at, bytes, codeOf, type Issued, make } from "./authority.ts";
import { rootOf } from "./roots.ts";

interface Authority {
  readonly ca: Issued;
  readonly signer: Issued;
}

async function authority(name: string): Promise<Authority> {
  const ca = await make({ ca: true, subject: `CN=${name} CA` });
  return { ca, signer: await make({ issuer: ca, subject: `CN=${name}` }) };
}

const now = at("2026-01-01");
const base64 = ({ der }: Issued) => Buffer.from(der).toString("base64");
const fingerprint = ({ der }: Issued) => readCertificate(der).fingerprint;
const keyId = ({ der }: Issued) => keyIdOf(readCertificate(der));
const pairOf = (manifest: Uint8Array, { keys, pem }: Issued, ...more: readonly Issued[]): SignaturePair => ({
  signature: sign("sha256", manifest, KeyObject.from(keys.privateKey)),
  certificates: bytes([pem, ...more.map((one) => one.pem)].join("")),
});

let serial = 0;
function release(change: Omit<TrustChange, "serial">, signers: readonly Issued[]): TrustRecord {
  const manifest = bytes(JSON.stringify({ serial: ++serial, ...change }));
  return { manifest, signatures: signers.map((one) => pairOf(manifest, one)), change: { serial, ...change } };
}

let one: Authority;
let two: Authority;
let three: Authority;
beforeAll(async () => {
  [one, two, three] = await Promise.all([authority("One"), authority("Two"), authority("Three")]);
});

const trusts = (root: ReturnType<typeof rootOf>, signers: readonly Issued[]): string => {
  const manifest = bytes("anything");
  return codeOf(() =>
    verifyManifest(
      manifest,
      signers.map((each) => pairOf(manifest, each)),
      root,
      now,
    ),
  );
};

describe("several signers (A14)", () => {
  test("count by their keys", () => {
    const root = rootOf([one.ca, two.ca], { threshold: 2 });
    expect(trusts(root, [one.signer, two.signer])).toBe("accepted");
    expect(trusts(root, [one.signer])).toBe("signatures-too-few");
    expect(trusts(root, [one.signer, three.signer])).toBe("signatures-too-few");
    expect(trusts(root, [three.signer])).toBe("chain-untrusted");
    expect(trusts(root, [])).toBe("signature-missing");
  });

  test("that are one key under two certificates, or twice the same signature, count once", async () => {
    const root = rootOf([one.ca], { threshold: 2 });
    const renewed = await make({ issuer: one.ca, keysOf: one.signer, subject: "CN=Renewed" });
    expect(trusts(root, [one.signer, renewed])).toBe("signatures-too-few");
    expect(trusts(root, [one.signer, one.signer])).toBe("signatures-too-few");
    const other = await make({ issuer: one.ca });
    expect(trusts(root, [one.signer, renewed, other])).toBe("accepted");
  });
});

describe("revoked keys and certificates (A16)", () => {
  test.each<[string, () => string]>([
    ["the signing certificate", () => fingerprint(one.signer)],
    ["the signing key", () => keyId(one.signer)],
    ["the anchor's certificate", () => fingerprint(one.ca)],
    ["the anchor's key", () => keyId(one.ca)],
  ])("are accepted nowhere in a chain: %s", (_, revoked) => {
    expect(trusts(rootOf([one.ca], { revoked: new Set([revoked()]) }), [one.signer])).toBe(
      "certificate-revoked",
    );
  });

  test("do not help by another certificate for the same key", async () => {
    const renewed = await make({ issuer: one.ca, keysOf: one.signer, subject: "CN=Renewed" });
    expect(trusts(rootOf([one.ca], { revoked: new Set([keyId(one.signer)]) }), [renewed])).toBe(
      "certificate-revoked",
    );
    expect(trusts(rootOf([one.ca], { revoked: new Set([fingerprint(one.signer)]) }), [renewed])).toBe(
      "accepted",
    );
  });

  test("as an intermediate end the way through it", async () => {
    const middle = await make({ ca: true, subject: "CN=Middle", issuer: one.ca });
    const leaf = await make({ issuer: middle });
    const manifest = bytes("anything");
    const verify = (revoked: readonly string[]) =>
      codeOf(() =>
        verifyManifest(
          manifest,
          [pairOf(manifest, leaf, middle)],
          rootOf([one.ca], { revoked: new Set(revoked) }),
          now,
        ),
      );
    expect(verify([])).toBe("accepted");
    expect(verify([keyId(middle)])).toBe("certificate-revoked");
  });

  test("by a release stay revoked in all that come after it", async () => {
    const other = await make({ issuer: one.ca, subject: "CN=Other" });
    const record = release({ revoked: [keyId(other)] }, [one.signer]);
    const root = walkRecord(rootOf([one.ca]), [record, release({ revoked: ["0".repeat(64)] }, [one.signer])]);
    expect(trusts(root, [other])).toBe("certificate-revoked");
    expect(trusts(root, [one.signer])).toBe("accepted");
  });

  test("cannot be what the release itself needs", () => {
    const suicide = release({ revoked: [keyId(one.signer)] }, [one.signer]);
    expect(codeOf(() => handOver(rootOf([one.ca]), suicide, now))).toBe("handover-refused");
  });
});

describe("a handover to a new CA (A15)", () => {
  test("by a release that both have signed ends the old one's time", () => {
    const root = walkRecord(rootOf([one.ca]), [
      release({ anchors: [base64(two.ca)] }, [one.signer, two.signer]),
    ]);
    expect(trusts(root, [two.signer])).toBe("accepted");
    expect(trusts(root, [one.signer])).toBe("chain-untrusted");
  });

  test("is refused when the new one has not signed, or the old one has not", () => {
    const anchors = [base64(two.ca)];
    expect(codeOf(() => walkRecord(rootOf([one.ca]), [release({ anchors }, [one.signer])]))).toBe(
      "handover-refused",
    );
    expect(codeOf(() => walkRecord(rootOf([one.ca]), [release({ anchors }, [two.signer])]))).toBe(
      "chain-untrusted",
    );
  });

  test("needs as many signers as the policy says, before and after", async () => {
    const [a, b] = await Promise.all([make({ issuer: one.ca }), make({ issuer: two.ca })]);
    const root = rootOf([one.ca], { threshold: 2 });
    const anchors = [base64(two.ca)];
    const attempt = (signers: readonly Issued[]) =>
      codeOf(() => walkRecord(root, [release({ anchors }, signers)]));
    expect(attempt([one.signer, a, two.signer, b])).toBe("accepted");
    expect(attempt([one.signer, two.signer, b])).toBe("signatures-too-few");
    expect(attempt([one.signer, a, two.signer])).toBe("handover-refused");
  });

  test("cannot be to something that is no CA", () => {
    const record = release({ anchors: [base64(two.signer)] }, [one.signer, two.signer]);
    expect(codeOf(() => handOver(rootOf([one.ca]), record, now))).toBe("handover-refused");
  });

  test("cannot be skipped", () => {
    const first = release({ anchors: [base64(two.ca)] }, [one.signer, two.signer]);
    const second = release({ anchors: [base64(three.ca)] }, [two.signer, three.signer]);
    expect(trusts(walkRecord(rootOf([one.ca]), [first, second]), [three.signer])).toBe("accepted");
    expect(codeOf(() => walkRecord(rootOf([one.ca]), [second]))).toBe("chain-untrusted");
    expect(codeOf(() => walkRecord(rootOf([one.ca]), [second, first]))).toBe("chain-untrusted");
  });

  test("may happen 256 times and more", () => {
    const forth = release({ anchors: [base64(two.ca)] }, [one.signer, two.signer]);
    const back = release({ anchors: [base64(one.ca)] }, [one.signer, two.signer]);
    const record = Array.from({ length: 257 }, (_, i) => (i % 2 === 0 ? forth : back));
    expect(trusts(walkRecord(rootOf([one.ca]), record), [two.signer])).toBe("accepted");
  });

  test("keeps what was revoked before", () => {
    const record = [
      release({ revoked: [fingerprint(three.ca)] }, [one.signer]),
      release({ anchors: [base64(two.ca), base64(three.ca)] }, [one.signer, two.signer]),
    ];
    expect(trusts(walkRecord(rootOf([one.ca]), record), [three.signer])).toBe("certificate-revoked");
  });
});

test("the fold of a record is what TPM2_NV_Extend makes of its digests", () => {
  const sha = (...parts: readonly Uint8Array[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
  const [a, b] = [bytes("a"), bytes("b")];
  expect(foldRecord([])).toEqual(new Uint8Array(32));
  expect(Buffer.from(foldRecord([a, b]))).toEqual(sha(sha(Buffer.alloc(32), sha(a)), sha(b)));
  expect(foldRecord([b, a])).not.toEqual(foldRecord([a, b]));
});

describe("a CA that is known by its key only", () => {
  test("vouches when its certificate comes with the manifest", () => {
    const manifest = bytes("anything");
    const root = { ...rootOf([]), pins: [{ keyId: keyId(one.ca), source: "tpm-nv:0x01500063" }] };
    const verify = (pair: SignaturePair) => codeOf(() => verifyManifest(manifest, [pair], root, now));
    expect(verify(pairOf(manifest, one.signer, one.ca))).toBe("accepted");
    expect(verify(pairOf(manifest, one.signer))).toBe("chain-untrusted");
    expect(verify(pairOf(manifest, two.signer, two.ca, one.ca))).toBe("chain-untrusted");
  });

  test("is no CA because a signing certificate has that key", async () => {
    const manifest = bytes("anything");
    const root = { ...rootOf([]), pins: [{ keyId: keyId(one.signer), source: "tpm-nv:0x01500063" }] };
    const below = await make({ issuer: one.signer });
    expect(codeOf(() => verifyManifest(manifest, [pairOf(manifest, below, one.signer)], root, now))).toBe(
      "chain-not-ca",
    );
  });
});
