// Why an attestation is refused: one code, and the name of the check that failed.
import { asMosError, MosError } from "../errors/mos-error.ts";

/** What `about` of the error is. docs/how-to/attest.md explains each. */
export type Check =
  | "device-certificate"
  | "attestation-key"
  | "binding"
  | "nonce"
  | "quote"
  | "event-log"
  | "secure-boot"
  | "closed"
  | "product"
  | "machine"
  | "pcr"
  | "generation"
  | "manifest-digest"
  | "manifest-signature"
  | "epoch";

/** The error of a check that failed. */
export function refusal(
  check: Check,
  why: string,
  problems: readonly string[] = [],
  cause?: unknown,
): MosError {
  return new MosError("attestation-refused", `cannot accept the attestation: ${why}`, {
    about: check,
    problems,
    cause,
  });
}

/** Does a part of a check, whatever goes wrong in which is that check's refusal. */
export function within<T>(check: Check, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const known = asMosError(error);
    const isData = error instanceof SyntaxError || error instanceof RangeError;
    if (known.code === "attestation-refused" || (known.code === "internal" && !isData)) throw error;
    const problems = [`${isData ? "malformed" : known.code}: ${known.message}`, ...known.problems];
    throw refusal(check, `its ${check} does not hold`, problems, error);
  }
}
