// The document of an attestation, version 1: everything that a verifier on another machine needs, and nothing that is
// secret. Bytes are kept as they are signed, in base64; one schema is both the decoder and the encoder.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { maxSignatures } from "../generation/signed-parts.ts";
import { limits } from "../oci/model.ts";
import { parseJson } from "../system/json.ts";
import { maxPemSize } from "../trust/pem.ts";
import { isNonce, type Nonce } from "./nonce.ts";

/**
 * The PCRs that are quoted, SHA-256: 0 to 7 are the firmware's, 9 and 11 to 14 those of boot loader, UKI, its command
 * line and extensions, and shim's keys (UAPI Linux TPM PCR Registry). 8 and 10 change while the system runs.
 */
export const quotedPcrs: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14];

/** Bytes of one log. Firmware writes some 100 KiB; a gigantic one is not carried around. */
export const maxLogSize = 4 * 1024 * 1024;

/** A TPM2B_PUBLIC, TPMS_ATTEST or TPMT_SIGNATURE: the largest holds an RSA key or signature of 4096 bits. */
const maxTpmStructure = 2048;

/** Of the whole document. Three MiB of JSON would be a large one. */
export const maxDocumentSize = 32 * 1024 * 1024;

const bytesSchema = z.custom<Uint8Array>((value) => value instanceof Uint8Array);

function base64(max: number) {
  const text = z.string().max(4 * Math.ceil(max / 3));
  return z.codec(text, bytesSchema, {
    decode: (value, context) => {
      const bytes = Buffer.from(value, "base64");
      // Buffer skips what is not base64; encoding again shows whether anything was skipped or had stray bits.
      if (bytes.length <= max && bytes.toString("base64") === value) return bytes;
      context.issues.push({
        code: "custom",
        input: value,
        message: `must be base64 of at most ${max} bytes`,
      });
      return z.NEVER;
    },
    encode: (bytes) => Buffer.from(bytes).toString("base64"),
  });
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const nonceField = z.codec(
  z.string().regex(/^([0-9a-f]{2}){16,64}$/, "must be 16 to 64 bytes in lower-case hex"),
  z.custom<Nonce>((value) => value instanceof Uint8Array && isNonce(value)),
  { decode: (text) => Uint8Array.from(Buffer.from(text, "hex")) as Nonce, encode: hex },
);

const pcrField = z.codec(
  z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits"),
  bytesSchema,
  { decode: (text) => Uint8Array.from(Buffer.from(text, "hex")), encode: hex },
);

/** PCR → value, in JSON an object whose keys are the PCRs' numbers. */
const pcrsField = z.codec(z.record(z.string(), pcrField), z.map(z.int(), bytesSchema), {
  decode: (values, context) => {
    const found = new Map(Object.entries(values).map(([pcr, value]) => [Number(pcr), value]));
    if (Object.keys(values).join() === quotedPcrs.join()) return found;
    context.issues.push({
      code: "custom",
      input: values,
      message: `must be the PCRs ${quotedPcrs.join(", ")}`,
    });
    return z.NEVER;
  },
  encode: (values) => Object.fromEntries(values),
});

const documentSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is"),
  nonce: nonceField,
  /** TPMS_ATTEST and TPMT_SIGNATURE. */
  quote: z.strictObject({ statement: base64(maxTpmStructure), signature: base64(maxTpmStructure) }),
  pcrs: pcrsField,
  /** TPM2B_PUBLIC of the key that signed the quote. */
  attestationKey: base64(maxTpmStructure),
  device: z.strictObject({
    /** PEM, the device's own first. */
    certificates: base64(maxPemSize),
    /** The device key's signature over the second statement of statements.ts. */
    binding: base64(maxTpmStructure),
  }),
  /** What was applied, exactly as it lies on the disk; absent when nothing was. */
  generation: z
    .strictObject({
      number: z.int().min(1).max(999_999_999),
      manifest: base64(limits.installManifest),
      signatures: z
        .array(
          z.strictObject({ signature: base64(limits.signature), certificates: base64(limits.certificate) }),
        )
        .min(1)
        .max(maxSignatures),
    })
    .optional(),
  /** The firmware's log of measurements (efi/event-log.ts); absent where the kernel has none. */
  firmwareLog: base64(maxLogSize).optional(),
  /** The log of what systemd measured (systemd-log.ts); absent where it measured nothing. */
  systemdLog: base64(maxLogSize).optional(),
});

export type Attestation = z.output<typeof documentSchema>;

/** The document as `--json` and the API have it: the value whose JSON text {@link decodeAttestation} reads. */
export type AttestationDocument = z.input<typeof documentSchema>;

/** Encodes an attestation. */
export function encodeAttestation(attestation: Attestation): AttestationDocument {
  return z.encode(documentSchema, attestation);
}

/**
 * Decodes a document; what its parts say is not looked at.
 * @throws MosError `attestation-refused`
 */
export function decodeAttestation(bytes: Uint8Array): Attestation {
  const refuse = (why: string, problems: readonly string[], cause?: unknown): MosError =>
    new MosError("attestation-refused", `cannot accept the attestation: ${why}`, {
      about: "document",
      problems,
      cause,
    });
  if (bytes.length > maxDocumentSize) throw refuse(`it has more than ${maxDocumentSize} bytes`, []);
  let json: unknown;
  try {
    json = parseJson(bytes, "the document");
  } catch (error) {
    throw refuse(error instanceof Error ? error.message : String(error), [], error);
  }
  const result = z.safeDecode(documentSchema, json as AttestationDocument);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) =>
    issue.code === "unrecognized_keys"
      ? `${issue.keys.join(", ")}: unknown key`
      : `${issue.path.join(".") || "document"}: ${issue.message}`,
  );
  throw refuse(`its document does not have the form that it should: ${problems[0]}`, problems);
}
