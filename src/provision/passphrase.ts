// Passphrases of a device, in the published system's form: `trust-` and hex digits, cut to their length.
import { randomBytes } from "node:crypto";

/**
 * A new passphrase of so many characters. 32 have 104 random bits, 40 have 136.
 * @param extra bytes of another source, the TPM's: weak randomness early in a boot is not enough for a break
 */
export function makePassphrase(length: number, extra: Uint8Array): Uint8Array {
  const random = randomBytes(extra.length);
  for (const [i, byte] of extra.entries()) random.writeUInt8(random.readUInt8(i) ^ byte, i);
  const text = Buffer.from(`trust-${random.toString("hex")}`, "latin1");
  random.fill(0);
  return text.subarray(0, length);
}
