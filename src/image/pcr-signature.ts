// The section `.pcrsig` (systemd-measure(1)): a publisher's promise that certain values of PCR 11 are his. A secret
// that is sealed to his key opens for every image that he signed so, and needs no sealing again after an update.
//
//   {"sha256": [{"pcrs": [11], "pkfp": SHA-256 of the RSAPublicKey (RFC 8017), "pol": policy digest,
//                "sig": RSASSA-PKCS1-v1_5 with SHA-256 over the policy digest, base64}]}
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import * as z from "zod";
import { type Bank, banks } from "../efi/bank.ts";
import { sha256 } from "../efi/measured.ts";
import { policyPcrDigest } from "../efi/pcr-policy.ts";
import type { PeImage } from "../efi/pe.ts";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { type SigningKey, signBytes } from "../trust/signature.ts";
import { pcr11AtPhase, pcr11AtStart, ukiPcr } from "./pcr11.ts";

const maxSignatures = 256;

const entrySchema = z.strictObject({
  pcrs: z.array(z.int().min(0).max(23)).min(1).max(24),
  pkfp: z.string().regex(/^[0-9a-f]{64}$/),
  pol: z.string().regex(/^[0-9a-f]{64}$/),
  sig: z.base64().max(2000),
});
const fileSchema = z.partialRecord(z.enum(banks), z.array(entrySchema).max(maxSignatures));
type Entry = z.infer<typeof entrySchema>;

/** A key, and the phases at which its secrets may be opened. */
export interface PcrSigner {
  readonly key: SigningKey;
  readonly publicKey: KeyObject;
  readonly phases: readonly string[];
}

/** How a signature names its key: hex. */
function keyFingerprint(key: KeyObject): string {
  return Buffer.from(sha256(key.export({ type: "pkcs1", format: "der" }))).toString("hex");
}

/**
 * Signs the values of PCR 11 that an image will give, in the SHA-256 bank.
 * @returns the content of `.pcrsig`; the same for the same image and keys
 * @throws MosError `efi-image-malformed`, as pcr11AtStart
 */
export function signPcr11(image: PeImage, signers: readonly PcrSigner[]): Uint8Array {
  const start = pcr11AtStart(image, "sha256");
  const entries = signers.flatMap(({ key, publicKey, phases }) =>
    phases.map((phase): Entry => {
      const policy = policyPcrDigest("sha256", ukiPcr, pcr11AtPhase(start, "sha256", phase));
      return {
        pcrs: [ukiPcr],
        pkfp: keyFingerprint(publicKey),
        pol: Buffer.from(policy).toString("hex"),
        sig: Buffer.from(signBytes(policy, key)).toString("base64"),
      };
    }),
  );
  return Buffer.from(JSON.stringify({ sha256: entries }));
}

export interface PcrSignatureReport {
  readonly bank: Bank;
  readonly pcrs: readonly number[];
  /** Fingerprint of the key. */
  readonly key: string;
  /** The phase path whose value is signed; undefined when it is none of this image. */
  readonly phase: string | undefined;
  /** `holds`: made by the image's own key for a value of this image; `other value`: of another image or phase. */
  readonly verdict: "holds" | "other key" | "other value" | "broken";
}

function check(entry: Entry, bank: Bank, values: ReadonlyMap<string, string>, key: KeyObject | undefined) {
  const phase = values.get(entry.pol);
  const own = key !== undefined && keyFingerprint(key) === entry.pkfp ? key : undefined;
  const isRight =
    own !== undefined &&
    verify("sha256", Buffer.from(entry.pol, "hex"), own, Buffer.from(entry.sig, "base64"));
  const verdict =
    own === undefined ? "other key" : !isRight ? "broken" : phase === undefined ? "other value" : "holds";
  return { bank, pcrs: entry.pcrs, key: entry.pkfp, phase, verdict } as const satisfies PcrSignatureReport;
}

/**
 * Checks every signature of `.pcrsig` against the image it is part of.
 * @param section the content of `.pcrsig`
 * @param publicKey the content of `.pcrpkey`, PEM; undefined when the image has none
 * @param phases phase paths that may be signed
 * @throws MosError `document-invalid`, `efi-image-malformed`
 */
export function checkPcrSignatures(
  image: PeImage,
  section: Uint8Array,
  publicKey: Uint8Array | undefined,
  phases: readonly string[],
): readonly PcrSignatureReport[] {
  const parsed = fileSchema.safeParse(parseJson(section, ".pcrsig"));
  if (!parsed.success) {
    const problems = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
    throw new MosError("document-invalid", "cannot read the PCR signatures of this image", {
      about: image.about,
      problems,
    });
  }
  let key: KeyObject | undefined;
  try {
    const found = publicKey === undefined ? undefined : createPublicKey(Buffer.from(publicKey));
    key = found?.asymmetricKeyType === "rsa" ? found : undefined;
  } catch {
    key = undefined; // Not a key: no signature can be its.
  }
  return banks.flatMap((bank) => {
    const entries = parsed.data[bank] ?? [];
    if (entries.length === 0) return [];
    const start = pcr11AtStart(image, bank);
    const values = new Map(
      phases.map((phase) => {
        const policy = policyPcrDigest(bank, ukiPcr, pcr11AtPhase(start, bank, phase));
        return [Buffer.from(policy).toString("hex"), phase];
      }),
    );
    return entries.map((entry) => check(entry, bank, values, key));
  });
}
