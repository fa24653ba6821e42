// A device's key in software, for tests: what a TPM does with one that never leaves it.
import { createECDH, createHash } from "node:crypto";
import type { Agree } from "../../../src/secrets/hpke.ts";
import { type Point, readPoint } from "../../../src/secrets/point.ts";

export interface SoftwareKey {
  readonly point: Point;
  readonly agree: Agree;
}

/** @param privateKey the scalar; one that the seed decides when undefined */
export function softwareKey(seed: string, privateKey?: Uint8Array): SoftwareKey {
  const exchange = createECDH("prime256v1");
  exchange.setPrivateKey(privateKey ?? createHash("sha256").update(seed).digest());
  return {
    point: readPoint(exchange.getPublicKey()),
    agree: async (other) => exchange.computeSecret(other),
  };
}
