// Bytes in a manifest: base64 with one reading only, and hashes in hex.
import * as z from "zod";

/** Hex SHA-256: of a certificate's DER, or of a public key (SubjectPublicKeyInfo). */
export const fingerprintSchema = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits");

/** Canonical base64 of bytes within these lengths. */
export function base64Schema({
  min,
  max,
}: {
  readonly min: number;
  readonly max: number;
}): z.ZodType<string> {
  return z
    .string()
    .max(4 * Math.ceil(max / 3), `must be base64 of at most ${max} bytes`)
    .refine(
      (text) => {
        const bytes = Buffer.from(text, "base64");
        return bytes.length >= min && bytes.length <= max && bytes.toString("base64") === text;
      },
      `must be base64 of ${min === max ? min : `${min} to ${max}`} bytes`,
    );
}
