// mosctl attest: brings together what an attestation is made of, on the device.
import { dirname, join } from "node:path";
import type { Attestation, AttestationDocument } from "../attest/document.ts";
import { encodeAttestation } from "../attest/document.ts";
import { type Identity, makeAttestation, readIdentity } from "../attest/make.ts";
import type { Nonce } from "../attest/nonce.ts";
import { readFirmwareLog, withSystemdLog } from "../attest/read-logs.ts";
import { MosError } from "../errors/mos-error.ts";
import { pointedGeneration, readGeneration } from "../generation/generations.ts";
import { Tpm } from "../tpm/tpm.ts";
import { maxPemSize } from "../trust/pem.ts";
import { readTrusted } from "../trust/trusted-file.ts";
import type { AgentContext } from "./context.ts";
import { acceptManifest, loadTrust, rootOfGeneration } from "./trust.ts";

/** Beside the certificate, as trust initrd-setup writes both. */
function keyBeside(certificatePath: string): string {
  return join(dirname(certificatePath), "server.key");
}

/** @throws MosError `identity-missing`, and as readIdentity() */
async function loadIdentity(paths: readonly string[]): Promise<Identity> {
  for (const path of paths) {
    const certificate = await readTrusted(path, maxPemSize, "certificate-malformed");
    if (certificate === undefined) continue;
    const keyPath = keyBeside(path);
    const key = await readTrusted(keyPath, maxPemSize, "key-invalid");
    if (key === undefined) throw missing("its private key is not there", keyPath);
    try {
      return readIdentity(certificate.bytes, Buffer.from(key.bytes).toString("latin1"), keyPath);
    } finally {
      key.bytes.fill(0);
    }
  }
  throw missing("its certificate is not there", paths.join(", "));
}

function missing(why: string, about: string): MosError {
  return new MosError("identity-missing", `cannot speak for this device: ${why}`, { about });
}

/**
 * What runs, verified as at boot: what this device itself refuses does not run, and is not attested.
 * @returns undefined when nothing was applied
 * @throws MosError of the check that failed
 */
async function loadApplied(context: AgentContext): Promise<Attestation["generation"]> {
  const number = await pointedGeneration(context.places, "current");
  if (number === undefined) return undefined;
  const generation = await readGeneration(context.places, number);
  const trust = await loadTrust(context);
  const { root } = await rootOfGeneration(context, trust, generation);
  acceptManifest(trust, root, { ...generation, time: { kind: "ignore" } });
  const { manifest, signatures } = generation;
  return { number, manifest, signatures: [...signatures] };
}

/**
 * Answers a verifier's nonce.
 * @throws MosError `identity-missing`, `key-invalid`, `tpm-missing`, `tpm-unprovisioned`, others of the TPM, and of
 * what was applied
 */
export async function attest(context: AgentContext, nonce: Nonce): Promise<AttestationDocument> {
  const { trust } = context;
  const identity = await loadIdentity(trust.deviceCertificates);
  const applied = await loadApplied(context);
  const firmwareLog = await readFirmwareLog(trust.measurements.firmware);
  const attestation = await withSystemdLog(trust.measurements.systemd, async (systemdLog) => {
    await using tpm = await Tpm.open(trust.tpm);
    return await makeAttestation(tpm, nonce, identity, applied, { firmwareLog, systemdLog });
  });
  return encodeAttestation(attestation);
}
