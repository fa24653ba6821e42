// What a verifier accepts, and what it refuses: each refusal is a good attestation with one change.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Attestation } from "../../../src/attest/document.ts";
import type { Nonce } from "../../../src/attest/nonce.ts";
import { type Expectations, type Verdict, verifyAttestation } from "../../../src/attest/verify.ts";
import { parseEventLog } from "../../../src/efi/event-log.ts";
import { asMosError } from "../../../src/errors/mos-error.ts";
import { encodeInstallManifest } from "../../../src/manifest/install-json.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { closingDigest } from "../../../src/provision/close-pcr7.ts";
import { objectAttributes } from "../../../src/tpm/constants.ts";
import { selectPcrs } from "../../../src/tpm/pcr-selection.ts";
import { sampleManifest } from "../../samples.ts";
import { make, read } from "../trust/authority.ts";
import * as good from "./good.ts";

const sha256 = (text: string): Uint8Array => createHash("sha256").update(text).digest();
const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

async function verify(
  parts: Partial<good.Parts> = {},
  expected: Partial<Expectations> = {},
): Promise<Verdict> {
  return verifyAttestation(await good.attestation(parts), { ...good.expectations, ...expected });
}

/** `code: check` of a refusal. */
async function refusalOf(
  attestation: Attestation | Promise<Attestation>,
  expected: Partial<Expectations> = {},
): Promise<string> {
  try {
    verifyAttestation(await attestation, { ...good.expectations, ...expected });
  } catch (error) {
    const { code, about } = asMosError(error);
    return `${code}: ${about}`;
  }
  return "accepted";
}

const refused = (check: string): string => `attestation-refused: ${check}`;
const by = ({ pcrs }: Verdict, number: number): string | undefined =>
  pcrs.find(({ pcr }) => pcr === number)?.by;

describe("a good attestation", () => {
  test("says who the device is, what was applied, and how it was started", async () => {
    const verdict = await verify();
    expect(verdict.device).toMatchObject({ product: good.product, machine: good.machine });
    expect(verdict.applied).toMatchObject({
      ...{ number: 3, product: good.product, serial: 7, epoch: 2, signers: undefined },
      manifestDigest: digestOf(good.manifest),
    });
    expect(verdict.boot).toMatchObject({
      secureBoot: "enabled",
      vouched: [
        { text: "db vouched: CN=UKI Production", fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) },
      ],
    });
    expect(verdict.closed).toBe(true);
    expect(verdict.tpm).toMatchObject({ clock: 90_000n, resetCount: 12 });
  });

  test("has every PCR explained that the firmware's log explains", async () => {
    const verdict = await verify();
    const explained = new Map(verdict.pcrs.map(({ pcr, by: who }) => [pcr, who]));
    for (const pcr of [0, 1, 2, 3, 4, 5, 6, 7, 9, 11])
      expect([pcr, explained.get(pcr)]).toEqual([pcr, "firmware"]);
    for (const pcr of [12, 13, 14]) expect([pcr, explained.get(pcr)]).toEqual([pcr, "nothing"]);
  });

  test("meets every expectation at once", async () => {
    const verdict = await verify();
    const expected = {
      product: good.product,
      machine: good.machine,
      attestationKey: verdict.attestationKey,
      pcrs: new Map([
        [7, good.openPcr7],
        [11, hex(good.closedPcrs.get(11))],
      ]),
      manifestDigest: digestOf(good.manifest),
      manifestCas: [read(good.manifestCa)],
      minEpoch: 2,
    };
    const { applied } = await verify({}, expected);
    expect(applied?.signers).toMatchObject([{ subject: `CN=manifest PRODUCT:${good.product}` }]);
  });

  test("of a device where nothing was applied says so", async () => {
    expect((await verify({ generation: undefined })).applied).toBeUndefined();
  });

  test("may be signed by a device with an RSA key", async () => {
    const key = {
      name: "RSASSA-PKCS1-v1_5",
      hash: "SHA-256",
      modulusLength: 2048,
      publicExponent: new Uint8Array([1, 0, 1]),
    };
    const device = await good.deviceUnder(good.deviceCa, { key });
    expect((await verify({ device })).device.certificate.publicKey.kind).toBe("rsa");
  });
});

describe("what systemd measured", () => {
  const word = "enter-initrd";
  const measured = good.extended(good.closedPcrs, [11, sha256(word)]);

  test("is explained by its log", async () => {
    expect(by(await verify({ pcrs: measured, systemdLog: good.systemdLog([11, word]) }), 11)).toBe("systemd");
  });

  test.each([
    ["is not there", undefined],
    ["says something else", good.systemdLog([11, "leave-initrd"])],
    ["is no log", Buffer.from("\x1e{")],
    ["has records without an end of the one before", Buffer.from("x\x1e{}")],
  ])("is explained by nobody when its log %s, and that is no refusal", async (_what, systemdLog) => {
    expect(by(await verify({ pcrs: measured, systemdLog }), 11)).toBe("nobody");
  });

  test("may be measured into the firmware's PCRs too, before and after PCR 7 was closed", async () => {
    const separator = sha256("os-separator");
    const log = good.systemdLog([7, "os-separator"]);
    for (const digests of [
      [separator, closingDigest],
      [closingDigest, separator],
    ]) {
      const pcrs = good.extended(good.pcrsOfBoot, ...digests.map((digest) => [7, digest] as const));
      expect((await verify({ pcrs, systemdLog: log })).closed).toBe(true);
    }
  });
});

describe("refused because of who speaks", () => {
  test.each([
    ["a CA of another name", { ca: true, subject: "CN=Other" }],
    ["another CA of the same name", { ca: true, subject: "CN=SUDI rootCA" }],
  ])("a certificate of %s", async (_what, wanted) => {
    const device = await good.deviceUnder(await make(wanted));
    expect(await refusalOf(good.attestation({ device }))).toBe(refused("device-certificate"));
  });

  test.each([
    ["that names no device", { subject: "CN=somebody" }],
    ["that is a CA", { ca: true }],
    ["that may not sign", { keyUsage: 4 }],
    ["that has expired", { notAfter: "2026-01-01" }],
    ["that is not valid yet", { notBefore: "2027-01-01" }],
  ])("a certificate %s", async (_what, change) => {
    const device = await good.deviceUnder(good.deviceCa, change);
    expect(await refusalOf(good.attestation({ device }))).toBe(refused("device-certificate"));
  });

  test("a certificate of another device as issuer", async () => {
    const device = await good.deviceUnder(good.device);
    const deviceCas = [read(good.device)] as const;
    expect(await refusalOf(good.attestation({ device }), { deviceCas })).toBe(refused("device-certificate"));
  });

  test("text that is no certificate", async () => {
    const attestation = await good.attestation();
    const device = { ...attestation.device, certificates: Buffer.from("nonsense") };
    expect(await refusalOf({ ...attestation, device })).toBe(refused("device-certificate"));
  });

  test("a key that the device did not vouch for", async () => {
    const bindingKey = await good.deviceUnder(good.deviceCa);
    expect(await refusalOf(good.attestation({ bindingKey }))).toBe(refused("binding"));
  });

  test("a voucher of an earlier attestation (A29: replay)", async () => {
    const earlier = await good.attestation({ nonce: sha256("earlier") as Nonce });
    const attestation = await good.attestation();
    expect(await refusalOf({ ...attestation, device: earlier.device })).toBe(refused("binding"));
  });

  test("another product or machine, or a TPM that was replaced", async () => {
    const attestation = good.attestation();
    expect(await refusalOf(attestation, { product: "other" })).toBe(refused("product"));
    expect(await refusalOf(attestation, { machine: "machine-2" })).toBe(refused("machine"));
    const attestationKey = `000b${"0".repeat(64)}`;
    expect(await refusalOf(attestation, { attestationKey })).toBe(refused("attestation-key"));
  });
});

describe("refused because of the key in the TPM", () => {
  test.each(["restricted", "sign", "fixedTpm", "fixedParent", "sensitiveDataOrigin"] as const)(
    "one that is not %s",
    async (name) => {
      const attestation = good.attestation({
        area: (area) => ({ ...area, attributes: area.attributes & ~objectAttributes[name] }),
      });
      expect(await refusalOf(attestation)).toBe(refused("attestation-key"));
    },
  );

  test("one that decrypts too", async () => {
    const attestation = good.attestation({
      area: (area) => ({ ...area, attributes: area.attributes | objectAttributes.decrypt }),
    });
    expect(await refusalOf(attestation)).toBe(refused("attestation-key"));
  });

  test.each([
    ["without a scheme", { scheme: undefined }],
    ["with another hash", { scheme: { scheme: "ecdsa", hash: "sha1" } }],
    ["whose Name is of another hash", { nameHash: "sha384" }],
    ["of another curve", { curve: "p384" }],
    ["that is no point", { x: new Uint8Array(32) }],
    ["with a coordinate that is too large", { x: new Uint8Array(33) }],
  ] as const)("one %s", async (_what, change) => {
    expect(await refusalOf(good.attestation({ area: (area) => ({ ...area, ...change }) }))).toBe(
      refused("attestation-key"),
    );
  });

  test("bytes that are no key", async () => {
    const attestation = await good.attestation();
    const attestationKey = attestation.attestationKey.subarray(1);
    expect(await refusalOf({ ...attestation, attestationKey })).toBe(refused("attestation-key"));
  });
});

describe("refused because of the quote (A29)", () => {
  const other = sha256("other") as Nonce;

  test("an answer to another nonce", async () => {
    expect(await refusalOf(good.attestation({ nonce: other }))).toBe(refused("nonce"));
  });

  test("an answer to another nonce that is said to be this one", async () => {
    const attestation = await good.attestation({ nonce: other });
    expect(await refusalOf({ ...attestation, nonce: good.nonce })).toBe(refused("binding"));
  });

  test("a quote of an earlier attestation", async () => {
    const earlier = await good.attestation({ nonce: other });
    const attestation = await good.attestation();
    expect(await refusalOf({ ...attestation, quote: earlier.quote })).toBe(refused("quote"));
  });

  test.each([
    ["statement", 20],
    ["signature", 10],
  ] as const)("a %s with one bit changed", async (part, at) => {
    const attestation = await good.attestation();
    const bytes = Uint8Array.from(attestation.quote[part]);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    const quote = { ...attestation.quote, [part]: bytes };
    expect(await refusalOf({ ...attestation, quote })).toBe(refused("quote"));
  });

  test("a quote over other PCRs", async () => {
    const selections = [selectPcrs("sha256", [0, 1])];
    const attestation = good.attestation({ statement: (said) => ({ ...said, selections }) });
    expect(await refusalOf(attestation)).toBe(refused("quote"));
  });

  test("PCR values that are not the quoted ones", async () => {
    const attestation = await good.attestation();
    const pcrs = new Map(attestation.pcrs).set(11, new Uint8Array(32));
    expect(await refusalOf({ ...attestation, pcrs })).toBe(refused("quote"));
  });

  test.each([
    ["manifest", { manifest: encodeInstallManifest(sampleManifest()) }],
    ["number", { number: 4 }],
  ])("another %s than was quoted", async (_what, change) => {
    const attestation = await good.attestation();
    const generation = await good.generationOf(good.manifest, good.publisher);
    expect(await refusalOf({ ...attestation, generation: { ...generation, ...change } })).toBe(
      refused("binding"),
    );
    // And the quote alone would not hold either.
    const bound = await good.attestation({ generation: { ...generation, ...change } });
    expect(await refusalOf({ ...bound, quote: attestation.quote })).toBe(refused("quote"));
  });

  test("what was applied, left out", async () => {
    expect(await refusalOf({ ...(await good.attestation()), generation: undefined })).toBe(
      refused("binding"),
    );
  });
});

test("is accepted when somebody has asked for the secrets again, which closes PCR 7 again", async () => {
  const pcrs = good.extended(good.closedPcrs, [7, closingDigest], [7, closingDigest]);
  expect(await refusalOf(good.attestation({ pcrs }))).toBe("accepted");
});

describe("refused because of how it was started", () => {
  test.each([0, 1, 2, 3, 4, 5, 6, 7])("a log that does not lead to PCR %i", async (pcr) => {
    const pcrs = good.extended(good.closedPcrs, [pcr, sha256("something else")]);
    expect(await refusalOf(good.attestation({ pcrs }))).toBe(refused("event-log"));
  });

  test("a log in which one digest was altered", async () => {
    const firmwareLog = Buffer.from(good.firmwareLog);
    const [event] = parseEventLog(firmwareLog, "log").events.filter(({ pcr }) => pcr === 4);
    const at = firmwareLog.indexOf(event?.digests.get("sha256") ?? "");
    expect(at).toBeGreaterThan(0);
    firmwareLog.writeUInt8(firmwareLog.readUInt8(at) ^ 1, at);
    expect(await refusalOf(good.attestation({ firmwareLog }))).toBe(refused("event-log"));
  });

  test.each([
    ["cut short", good.firmwareLog.subarray(0, good.firmwareLog.length - 1)],
    ["empty", new Uint8Array()],
  ])("a log that is %s", async (_what, firmwareLog) => {
    expect(await refusalOf(good.attestation({ firmwareLog }))).toBe(refused("event-log"));
  });

  test("no log, which would have to say that Secure Boot was on", async () => {
    const attestation = good.attestation({ firmwareLog: undefined });
    expect(await refusalOf(attestation)).toBe(refused("secure-boot"));
    expect(await refusalOf(attestation, { requireSecureBoot: false })).toBe(refused("closed"));
    const neither = { requireSecureBoot: false, requireClosed: false };
    expect(await refusalOf(attestation, neither)).toBe("accepted");
    // Expected values hold without a log, too: of PCR 7, the one before it was closed or the one after.
    for (const value of [good.openPcr7, hex(good.closedPcrs.get(7))]) {
      expect(await refusalOf(attestation, { ...neither, pcrs: new Map([[7, value]]) })).toBe("accepted");
    }
  });

  test("PCR 7 that was left open", async () => {
    const attestation = good.attestation({ pcrs: good.pcrsOfBoot });
    expect(await refusalOf(attestation)).toBe(refused("closed"));
    expect(await refusalOf(attestation, { requireClosed: false })).toBe("accepted");
  });

  test("PCRs that are not as expected", async () => {
    const attestation = good.attestation();
    for (const [pcr, value] of [
      [7, hex(good.closedPcrs.get(7))],
      [11, good.openPcr7],
      [8, "0".repeat(64)],
    ] as const) {
      expect(await refusalOf(attestation, { pcrs: new Map([[pcr, value]]) })).toBe(refused("pcr"));
    }
  });
});

describe("refused because of what was applied", () => {
  test("nothing, where something is expected", async () => {
    const attestation = good.attestation({ generation: undefined });
    for (const expected of [
      { manifestDigest: digestOf(good.manifest) },
      { manifestCas: [read(good.manifestCa)] },
      { minEpoch: 0 },
    ]) {
      expect(await refusalOf(attestation, expected)).toBe(refused("generation"));
    }
  });

  test("another manifest, or one of an older epoch", async () => {
    const attestation = good.attestation();
    expect(await refusalOf(attestation, { manifestDigest: digestOf("other") })).toBe(
      refused("manifest-digest"),
    );
    const manifestCas = [read(good.manifestCa)];
    expect(await refusalOf(attestation, { manifestCas, minEpoch: 3 })).toBe(refused("epoch"));
    expect(await refusalOf(attestation, { manifestCas, minEpoch: 2 })).toBe("accepted");
    expect(await refusalOf(attestation, { manifestDigest: digestOf(good.manifest), minEpoch: 2 })).toBe(
      "accepted",
    );
    // The epoch of a manifest that nobody vouches for says nothing.
    expect(await refusalOf(attestation, { minEpoch: 2 })).toBe(refused("epoch"));
  });

  test("bytes that are no manifest", async () => {
    const generation = await good.generationOf(Buffer.from("{}"), good.publisher);
    expect(await refusalOf(good.attestation({ generation }))).toBe(refused("generation"));
  });

  test("a manifest that nobody signed whom the CA vouches for", async () => {
    const other = await make({ ca: true, subject: "CN=Manifest rootCA" });
    const manifestCas = [read(other)];
    expect(await refusalOf(good.attestation(), { manifestCas })).toBe(refused("manifest-signature"));
  });

  test("a manifest that was signed for another product than the device's", async () => {
    const manifestCas = [read(good.manifestCa)];
    const product = "ffffffff-4455-6677-8899-aabbccddeeff";
    const publisher = await make({ issuer: good.manifestCa, subject: `CN=manifest PRODUCT:${product}` });
    const bytes = encodeInstallManifest(sampleManifest({ product }));
    const generation = await good.generationOf(bytes, publisher);
    expect(await refusalOf(good.attestation({ generation }), { manifestCas })).toBe(
      refused("manifest-signature"),
    );
  });
});
