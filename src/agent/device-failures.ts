// Failures of the device itself, which say nothing about a manifest.
import type { ErrorCode } from "../errors/catalogue.ts";

export const deviceFailures: ReadonlySet<string> = new Set<ErrorCode>([
  "no-space",
  "io-failed",
  "permission-denied",
  "internal",
]);
