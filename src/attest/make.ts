// The device's side: what it has measured, signed by the key in its TPM, and that key vouched for by the device's own.
import { createPublicKey } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { attestationKeyHandle } from "../provision/attestation-key.ts";
import { readQuoteStatement } from "../tpm/attest.ts";
import { decodeAll } from "../tpm/buffer.ts";
import { readPersistent, type TpmObject } from "../tpm/keys.ts";
import { readPcrs } from "../tpm/pcr.ts";
import { digestOfPcrs, type PcrValues, selectPcrs } from "../tpm/pcr-selection.ts";
import { encodeSizedPublic } from "../tpm/public.ts";
import { type Quote, quote } from "../tpm/quote.ts";
import { isTpmAnswer } from "../tpm/response-code.ts";
import { emptyAuthorization } from "../tpm/session.ts";
import type { Tpm } from "../tpm/tpm.ts";
import { readCertificates } from "../trust/certificate.ts";
import { readSigningKey, type SigningKey, signBytes } from "../trust/signature.ts";
import { type Attestation, quotedPcrs } from "./document.ts";
import type { Nonce } from "./nonce.ts";
import { bindingStatement, qualifyingData } from "./statements.ts";

/** What the device is, as its initrd took it out of the TPM. */
export interface Identity {
  /** PEM, the device's own certificate first. */
  readonly certificates: Uint8Array;
  readonly key: SigningKey;
}

/** How often PCRs are read again that were extended between reading and quoting. */
const maxAttempts = 8;

/**
 * Reads the device's certificate and key.
 * @param about where they are from, for errors
 * @throws MosError `certificate-malformed`, `algorithm-refused`, `key-invalid`
 */
export function readIdentity(certificates: Uint8Array, privateKeyPem: string, about: string): Identity {
  const [{ publicKey }] = readCertificates(certificates);
  const key = readSigningKey(privateKeyPem, about);
  if (createPublicKey(key).equals(publicKey.object)) return { certificates, key };
  throw new MosError("key-invalid", "cannot use a device's key that is not its certificate's", { about });
}

/** @throws MosError `tpm-unprovisioned` when the TPM has no such key */
async function openAttestationKey(tpm: Tpm): Promise<TpmObject> {
  try {
    return await readPersistent(tpm, attestationKeyHandle);
  } catch (error) {
    if (!isTpmAnswer(error, "TPM_RC_HANDLE")) throw error;
    throw new MosError("tpm-unprovisioned", "cannot attest: the TPM has no attestation key", {
      cause: error,
    });
  }
}

/** PCR values, and a quote of the same ones. */
async function quotePcrs(
  tpm: Tpm,
  key: TpmObject,
  asked: Uint8Array,
): Promise<{ readonly quote: Quote; readonly pcrs: PcrValues }> {
  const selection = selectPcrs("sha256", quotedPcrs);
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const pcrs = await readPcrs(tpm, "sha256", quotedPcrs);
    const made = await quote(tpm, key, emptyAuthorization, selection, asked);
    // The hash is that of the key's scheme (Part 3, section 18.4), and the template's is SHA-256.
    const { pcrDigest } = decodeAll(made.statement, readQuoteStatement);
    if (Buffer.compare(pcrDigest, digestOfPcrs("sha256", selection, pcrs)) === 0)
      return { quote: made, pcrs };
  }
  throw new MosError("busy", "cannot attest: something extends the TPM's PCRs all the time");
}

/**
 * Makes an attestation.
 * @param applied what was applied, as it lies on the disk; undefined when nothing was
 * @throws MosError `tpm-unprovisioned`, `busy`, TpmError
 */
export async function makeAttestation(
  tpm: Tpm,
  nonce: Nonce,
  identity: Identity,
  applied: Attestation["generation"],
  logs: Pick<Attestation, "firmwareLog" | "systemdLog">,
): Promise<Attestation> {
  const key = await openAttestationKey(tpm);
  const asked = qualifyingData(nonce, applied, key.name);
  const { quote: made, pcrs } = await quotePcrs(tpm, key, asked);
  return {
    version: 1,
    nonce,
    quote: { statement: Uint8Array.from(made.statement), signature: made.signature },
    pcrs: new Map(pcrs),
    attestationKey: encodeSizedPublic(key.public),
    device: {
      certificates: identity.certificates,
      binding: signBytes(bindingStatement(key.name, asked), identity.key),
    },
    generation: applied,
    ...logs,
  };
}
