// A good attestation, made without a TPM: a key in software signs what a TPM would have signed. A test breaks it by one
// named change. The log and the PCRs are those of a real start of OVMF (efi/ovmf-boot.json), closed afterwards.
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { type Attestation, quotedPcrs } from "../../../src/attest/document.ts";
import type { Nonce } from "../../../src/attest/nonce.ts";
import { bindingStatement, qualifyingData } from "../../../src/attest/statements.ts";
import type { Expectations } from "../../../src/attest/verify.ts";
import { extendPcr } from "../../../src/efi/bank.ts";
import { encodeInstallManifest } from "../../../src/manifest/install-json.ts";
import { closingDigest } from "../../../src/provision/close-pcr7.ts";
import { type QuoteStatement, writeQuoteStatement } from "../../../src/tpm/attest.ts";
import { encode } from "../../../src/tpm/buffer.ts";
import { nameOfPublic } from "../../../src/tpm/names.ts";
import { digestOfPcrs, type PcrValues, selectPcrs } from "../../../src/tpm/pcr-selection.ts";
import { type EccPublic, encodeSizedPublic, type Public } from "../../../src/tpm/public.ts";
import { writeSignature } from "../../../src/tpm/signature.ts";
import { attestationKeyTemplate } from "../../../src/tpm/templates.ts";
import { sampleManifest } from "../../samples.ts";
import boot from "../efi/ovmf-boot.json" with { type: "json" };
import { type Issued, make, read } from "../trust/authority.ts";

export const product = "00112233-4455-6677-8899-aabbccddeeff";
export const machine = "machine-1";
export const nonce = createHash("sha256").update("nonce").digest() as Uint8Array as Nonce;
export const firmwareLog: Uint8Array = Buffer.from(boot.log, "base64");

/** PCR 7 as the firmware leaves it, hex. */
export const openPcr7: string = boot.pcrs["7"];

export const pcrsOfBoot: ReadonlyMap<number, Uint8Array> = new Map(
  Object.entries(boot.pcrs)
    .map(([pcr, value]): [number, Uint8Array] => [Number(pcr), Uint8Array.from(Buffer.from(value, "hex"))])
    .filter(([pcr]) => quotedPcrs.includes(pcr)),
);

/** The same PCRs, some of them extended further. */
export function extended(
  values: PcrValues,
  ...events: readonly (readonly [number, Uint8Array])[]
): PcrValues {
  const result = new Map(values);
  for (const [pcr, digest] of events) {
    result.set(pcr, extendPcr("sha256", result.get(pcr) ?? new Uint8Array(32), digest));
  }
  return result;
}

export const closedPcrs = extended(pcrsOfBoot, [7, closingDigest]);

const privateKeyOf = async ({ keys }: Issued): Promise<KeyObject> =>
  createPrivateKey({
    key: Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)),
    format: "der",
    type: "pkcs8",
  });

const deviceName = (pid: string, sn: string) => [{ "2.5.4.5": [`PID:${pid} SN:${sn}`] }, { CN: [sn] }];

/** The certificate of a device. */
export const deviceUnder = (issuer: Issued, change: Parameters<typeof make>[0] = {}): Promise<Issued> =>
  make({ subject: deviceName(product, machine), issuer, purposes: ["1.3.6.1.5.5.7.3.2"], ...change });

export const deviceCa = await make({ ca: true, subject: "CN=SUDI rootCA" });
export const device = await deviceUnder(deviceCa);
export const manifestCa = await make({ ca: true, subject: "CN=Manifest rootCA" });
export const publisher = await make({ issuer: manifestCa, subject: `CN=manifest PRODUCT:${product}` });

const release = { serial: 7, epoch: 2 };
export const manifest = encodeInstallManifest(sampleManifest({ product, release }));

/** A generation with a signature of this publisher. */
export async function generationOf(bytes: Uint8Array, signer: Issued, number = 3) {
  const signature = sign("sha256", bytes, await privateKeyOf(signer));
  return { number, manifest: bytes, signatures: [{ signature, certificates: Buffer.from(signer.pem) }] };
}

const ownPair = generateKeyPairSync("ec", { namedCurve: "P-256" });

export interface Parts {
  /** Of the key that signs the quote. */
  readonly area: (good: EccPublic) => Public;
  readonly pcrs: PcrValues;
  readonly statement: (good: QuoteStatement) => QuoteStatement;
  readonly nonce: Nonce;
  readonly device: Issued;
  /** Whose key vouches for the TPM's; the device's by default. */
  readonly bindingKey: Issued;
  readonly generation: Attestation["generation"];
  readonly firmwareLog: Uint8Array | undefined;
  readonly systemdLog: Uint8Array | undefined;
}

function goodArea(): EccPublic {
  const { x = "", y = "" } = ownPair.publicKey.export({ format: "jwk" });
  return { ...attestationKeyTemplate, x: Buffer.from(x, "base64url"), y: Buffer.from(y, "base64url") };
}

function quoteOf(statement: QuoteStatement): Attestation["quote"] {
  const bytes = encode((writer) => writeQuoteStatement(writer, statement));
  const both = sign("sha256", bytes, { key: ownPair.privateKey, dsaEncoding: "ieee-p1363" });
  const [r, s] = [both.subarray(0, 32), both.subarray(32)];
  return {
    statement: bytes,
    signature: encode((writer) => writeSignature(writer, { scheme: "ecdsa", hash: "sha256", r, s })),
  };
}

/** An attestation whose parts agree with each other, whatever they are. */
export async function attestation(parts: Partial<Parts> = {}): Promise<Attestation> {
  const { pcrs = closedPcrs, nonce: asked = nonce, device: own = device } = parts;
  const area = (parts.area ?? ((good) => good))(goodArea());
  const key = nameOfPublic(area);
  const generation = "generation" in parts ? parts.generation : await generationOf(manifest, publisher);
  const qualifying = qualifyingData(asked, generation, key);
  const selection = selectPcrs("sha256", quotedPcrs);
  const statement: QuoteStatement = {
    signer: key,
    extraData: qualifying,
    ...{ clock: 90_000n, resetCount: 12, restartCount: 0, clockSafe: true, firmwareVersion: 1n },
    selections: [selection],
    pcrDigest: digestOfPcrs("sha256", selection, pcrs),
  };
  return {
    version: 1,
    nonce: asked,
    quote: quoteOf((parts.statement ?? ((good) => good))(statement)),
    pcrs: new Map(pcrs),
    attestationKey: encodeSizedPublic(area),
    device: {
      certificates: Buffer.from(own.pem),
      binding: sign("sha256", bindingStatement(key, qualifying), await privateKeyOf(parts.bindingKey ?? own)),
    },
    generation,
    firmwareLog: "firmwareLog" in parts ? parts.firmwareLog : firmwareLog,
    systemdLog: parts.systemdLog,
  };
}

/** What a verifier expects who takes every default. */
export const expectations: Expectations = {
  nonce,
  deviceCas: [read(deviceCa)],
  now: new Date("2026-06-01T00:00:00Z"),
  pcrs: new Map(),
  requireSecureBoot: true,
  requireClosed: true,
};

/** Records of systemd's log, as systemd-pcrextend writes them. */
export function systemdLog(...events: readonly (readonly [pcr: number, word: string])[]): Uint8Array {
  const records = events.map(([pcr, word]) => {
    const digest = createHash("sha256").update(word).digest("hex");
    const record = {
      pcr,
      digests: [{ hashAlg: "sha256", digest }],
      content_type: "systemd",
      content: {
        string: word,
        bootId: "43b5d1d7a3b54c4d8f0f4a4f2d3c1b0a",
        timestamp: 1234567,
        eventType: "phase",
      },
    };
    return `\x1e${JSON.stringify(record)}\n`;
  });
  return Buffer.from(records.join(""));
}
