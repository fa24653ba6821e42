// Closing the secrets: PCR 7 is extended, and no policy that asks for its value before can be satisfied until the next
// start of the machine.
import { createHash } from "node:crypto";
import { extendPcr } from "../tpm/pcr.ts";
import type { Tpm } from "../tpm/tpm.ts";
import { secureBootPcr } from "./policies.ts";

/** What it is extended by, the published system's constant: sha256("atomix\n"). */
export const closingDigest: Uint8Array = createHash("sha256").update("atomix\n").digest();

/** @throws TpmError; then the secrets may still be readable, and nothing else may start */
export async function closePcr7(tpm: Tpm): Promise<void> {
  await extendPcr(tpm, secureBootPcr, "sha256", closingDigest);
}
