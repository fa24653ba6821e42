// What is a device's own and stays, for deciding things that differ from device to device. Not a secret, and never told
// to anybody: only hashes under it are.
import { createHash, createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { readCertificates } from "../trust/certificate.ts";
import type { AgentContext } from "./context.ts";

/** An application's own id must not be the machine's: machine-id(5), sd_id128_get_machine_app_specific(3). */
const application = "mos rollout";

async function read(path: string): Promise<Buffer | undefined> {
  return await readFile(path).catch(() => undefined);
}

/**
 * The identity of this device: a hash of its certificate's own public form when it was provisioned, else one of its
 * machine id.
 * @returns undefined where it has neither yet
 */
export async function deviceKey({ trust, machineId }: AgentContext): Promise<Uint8Array | undefined> {
  for (const path of trust.deviceCertificates) {
    const pem = await read(path);
    if (pem === undefined) continue;
    try {
      const [{ fingerprint }] = readCertificates(pem);
      return createHash("sha256").update(`${application}\0${fingerprint}`).digest();
    } catch {
      break; // Not one that says who the device is.
    }
  }
  const id = (await read(machineId))?.toString("latin1").trim() ?? "";
  if (!/^[0-9a-f]{32}$/.test(id)) return undefined;
  return createHmac("sha256", Buffer.from(id, "hex")).update(application).digest();
}
