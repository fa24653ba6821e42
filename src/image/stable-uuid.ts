// Uuids that are the same each time something is made of the same.
import { createHash } from "node:crypto";

/**
 * A uuid of version 8, "custom" (RFC 9562, section 5.8).
 * @param seed what is the same each time
 * @param purpose for which of several uuids it is
 */
export function uuidFrom(seed: string, purpose: string): string {
  const hex = createHash("sha256").update(`mos uuid ${purpose} ${seed}`).digest("hex");
  const digits = (from: number, to: number): string => hex.slice(from, to);
  return `${digits(0, 8)}-${digits(8, 12)}-8${digits(13, 16)}-8${digits(17, 20)}-${digits(20, 32)}`;
}
