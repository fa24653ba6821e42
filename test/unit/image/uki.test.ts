import { createHash, createPublicKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { policyPcrDigest } from "../../../src/efi/pcr-policy.ts";
import { parsePe } from "../../../src/efi/pe.ts";
import { signImage } from "../../../src/efi/sign-image.ts";
import { type PcrSigner, signPcr11 } from "../../../src/image/pcr-signature.ts";
import { defaultPhases, pcr11AtPhase, pcr11AtStart } from "../../../src/image/pcr11.ts";
import { inspectUki, type UkiReport } from "../../../src/image/uki-inspect.ts";
import { vectorsFile } from "../../support.ts";
import { type FirmwareKey, firmwareKey } from "../efi/firmware-keys.ts";
import { text, writePe } from "../efi/pe-writer.ts";

const kernel = { name: ".linux", content: text("kernel") };
const sections = [
  { name: ".text", content: text("stub") },
  { name: ".cmdline", content: text("root=/dev/vda ro") },
  { name: ".osrel", content: text('ID=mos\nPRETTY_NAME="mos"\n') },
  kernel,
  { name: ".initrd", content: text("initrd") },
];
const image = (more: readonly (typeof kernel)[] = [], from = sections) =>
  parsePe(writePe([...from, ...more]), "x.efi");
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

let keys: FirmwareKey;
let other: FirmwareKey;
const signerOf = ({ key }: FirmwareKey, phases = ["enter-initrd"]): PcrSigner => ({
  ...{ key, publicKey: createPublicKey(key), phases },
});
const publicPem = ({ key }: FirmwareKey): Uint8Array =>
  Buffer.from(createPublicKey(key).export({ type: "spki", format: "pem" }));
beforeAll(async () => {
  [keys, other] = await Promise.all([firmwareKey(), firmwareKey()]);
});

/** The image with the public key and signatures over the values of `of` in it. */
function withPcrSignatures(signers: readonly PcrSigner[], of = image([pcrKey()])): UkiReport {
  return inspectUki(image([pcrKey(), { name: ".pcrsig", content: signPcr11(of, signers) }]));
}
const pcrKey = () => ({ name: ".pcrpkey", content: publicPem(keys) });

describe("PCR 11", () => {
  test("is the name and the content of each section, in the order of the stub and not of the file", () => {
    const digests = [
      ".linux\0",
      "kernel",
      ".osrel\0",
      'ID=mos\nPRETTY_NAME="mos"\n',
      ".cmdline\0",
      "root=/dev/vda ro",
    ]
      .concat([".initrd\0", "initrd"])
      .map((part) => createHash("sha256").update(part).digest());
    const expected = digests.reduce(
      (pcr, digest) => createHash("sha256").update(pcr).update(digest).digest(),
      Buffer.alloc(32),
    );
    expect(hex(pcr11AtStart(image(), "sha256"))).toBe(hex(expected));
  });

  test("does not depend on the stub and on the signatures over it, but on everything else", () => {
    const start = (changed: Record<string, string>) =>
      hex(
        pcr11AtStart(
          image(
            [],
            sections.map((section) => ({ ...section, content: text(changed[section.name] ?? "same") })),
          ),
          "sha256",
        ),
      );
    expect(start({ ".text": "another" })).toBe(start({}));
    const values = [".cmdline", ".osrel", ".linux", ".initrd"].map((name) => start({ [name]: "another" }));
    expect(new Set([start({}), ...values]).size).toBe(5);
    const signature = { name: ".pcrsig", content: text("{}") };
    expect(hex(pcr11AtStart(image([signature]), "sha256"))).toBe(hex(pcr11AtStart(image(), "sha256")));
  });

  test("is another one at each phase", () => {
    const start = pcr11AtStart(image(), "sha256");
    const values = defaultPhases.map((phase) => hex(pcr11AtPhase(start, "sha256", phase)));
    expect(new Set([hex(start), ...values]).size).toBe(5);
  });

  test.each([
    ["profiles", { name: ".profile", content: text("ID=main") }],
    ["device trees to choose from", { name: ".dtbauto", content: text("dtb") }],
    ["two command lines", { name: ".cmdline", content: text("init=/bin/sh") }],
  ])("is not computed for an image with %s", (_what, section) => {
    expect(() => pcr11AtStart(image([section]), "sha256")).toThrow(
      expect.objectContaining({ code: "efi-image-malformed" }),
    );
    expect(inspectUki(image([section])).pcr11).toMatchObject({ problem: expect.any(String) });
  });
});

describe("an inspected image", () => {
  test("shows its texts, its sections and that nobody signed it", () => {
    expect(inspectUki(image())).toMatchObject({
      commandLine: "root=/dev/vda ro",
      osRelease: 'ID=mos\nPRETTY_NAME="mos"\n',
      signatures: [],
      pcrSignatures: [],
      sections: expect.arrayContaining([
        { name: ".linux", size: 6, sha256: createHash("sha256").update("kernel").digest("hex") },
      ]),
    });
  });

  test("names its signers, and says when a signature does not hold", () => {
    const signed = signImage(writePe(sections), keys.key, keys.certificate, "x.efi");
    expect(inspectUki(parsePe(signed, "x.efi")).signatures).toEqual([
      { subject: "CN=Signer", fingerprint: keys.certificate.fingerprint },
    ]);
    const altered = Buffer.from(signed);
    altered.write("kernel", altered.indexOf("initrd"));
    expect(inspectUki(parsePe(altered, "x.efi")).signatures).toEqual([
      { problem: expect.stringContaining("altered") },
    ]);
  });

  test("that has no kernel is no UKI", () => {
    expect(() => inspectUki(image([], sections.slice(0, 2)))).toThrow(
      expect.objectContaining({ code: "efi-image-malformed" }),
    );
  });
});

describe("PCR signatures", () => {
  test("hold for the image and the phases that were signed", () => {
    const phases = ["enter-initrd", "enter-initrd:leave-initrd"];
    expect(withPcrSignatures([signerOf(keys, phases)]).pcrSignatures).toEqual(
      phases.map((phase) => expect.objectContaining({ bank: "sha256", pcrs: [11], phase, verdict: "holds" })),
    );
  });

  test("of another image, or by another key, are seen", () => {
    const another = image(
      [pcrKey()],
      [...sections.slice(0, -1), { name: ".initrd", content: text("other") }],
    );
    expect(withPcrSignatures([signerOf(keys)], another).pcrSignatures).toMatchObject([
      { verdict: "other value", phase: undefined },
    ]);
    expect(withPcrSignatures([signerOf(other)]).pcrSignatures).toMatchObject([{ verdict: "other key" }]);
  });

  test("that were altered are seen", () => {
    const [entry] = JSON.parse(Buffer.from(signPcr11(image([pcrKey()]), [signerOf(keys)])).toString()).sha256;
    const content = text(JSON.stringify({ sha256: [{ ...entry, sig: `AAAA${entry.sig.slice(4)}` }] }));
    expect(inspectUki(image([pcrKey(), { name: ".pcrsig", content }])).pcrSignatures).toMatchObject([
      { verdict: "broken" },
    ]);
  });

  test.each([
    ["no JSON", "{"],
    ["a bank that is none", '{"md5": []}'],
    ["a field that does not belong there", '{"sha256": [{"pcrs": [11], "x": 1}]}'],
    ["a PCR that no TPM has", '{"sha256": [{"pcrs": [24], "pkfp": "", "pol": "", "sig": ""}]}'],
  ])("with %s are refused", (_what, json) => {
    expect(() => inspectUki(image([{ name: ".pcrsig", content: text(json) }]))).toThrow(
      expect.objectContaining({ code: "document-invalid" }),
    );
  });

  test("are the same each time", () => {
    const sign = () => hex(signPcr11(image([pcrKey()]), [signerOf(keys)]));
    expect(sign()).toBe(sign());
  });
});

describe("the policy of a PCR", () => {
  const path = vectorsFile("tpm-vectors.json");
  interface Vector {
    readonly pcr7: string;
    readonly policy_kind?: string;
    readonly policy_digest?: string;
  }

  test.skipIf(!existsSync(path))("is what the published system signed", () => {
    const policies: readonly Vector[] = JSON.parse(readFileSync(path, "utf8")).policies;
    const plain = policies.filter(({ policy_kind: kind }) => kind === "tpmpass");
    expect(plain.length).toBeGreaterThan(3);
    for (const { pcr7, policy_digest: digest } of plain) {
      expect(hex(policyPcrDigest("sha256", 7, Buffer.from(pcr7, "hex")))).toBe(digest);
    }
  });
});
