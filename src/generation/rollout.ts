// Staged rollout: which devices an update reaches first. Pure. A release names a share of all devices, and each device
// decides by a hash of what never changes of it, with nobody to ask. The hash takes in the number of the release and not
// the manifest itself: a release that is published again with a larger share reaches all that it reached before.
import { createHmac } from "node:crypto";
import type { InstallManifest, Release } from "../manifest/schema.ts";

export type Rollout = NonNullable<Release["rollout"]>;

const hourMs = 3_600_000;

/**
 * The place of a device in the order in which a release reaches devices, 0 to 99: HMAC-SHA256 with the device's
 * identity as key over `mos rollout 1`, product, epoch and serial, each ended by a NUL; its first 6 bytes as a big-endian
 * number, modulo 100. (2^48 is so much larger than 100 that no place is likelier than another.)
 * @param identity what is the device's own and stays: see src/agent/device-key.ts
 */
export function rolloutPlace(identity: Uint8Array, { product, release }: InstallManifest): number {
  const text = ["mos rollout 1", product, release?.epoch ?? 0, release?.serial ?? 0]
    .map((part) => `${part}\0`)
    .join("");
  return createHmac("sha256", identity).update(text).digest().readUIntBE(0, 6) % 100;
}

/** The share of devices, in percent, that a rollout reaches at a time. It never becomes smaller. */
export function rolloutShare({ percent, from, over }: Rollout, now: Date): number {
  if (from === undefined) return percent;
  const hours = (now.getTime() - Date.parse(from)) / hourMs;
  if (hours < 0) return 0;
  if (over === undefined) return percent;
  return Math.min(100, percent + ((100 - percent) * hours) / over);
}

/**
 * When a rollout reaches a place.
 * @returns undefined when it never does by itself
 */
export function reachedAt({ percent, from, over }: Rollout, place: number): Date | undefined {
  if (place < percent) return new Date(from ?? 0);
  if (from === undefined || over === undefined) return undefined;
  return new Date(Date.parse(from) + (over * hourMs * (place - percent)) / (100 - percent) + 1);
}
