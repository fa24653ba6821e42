// What tests of several rooms need: conformance data that may be absent, and directories that go away.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Conformance data of the published system, beside the checkout; tests that read it are skipped without it. */
const vectors = join(import.meta.dirname, "../../shared/vectors");

/** A file of the conformance data, which may not be there. */
export function vectorsFile(name: string): string {
  return join(vectors, name);
}

export const seedLayout = join(vectors, "seed004/oci-layout");
export const seedCa = join(vectors, "seed004/manifestCA.pem");
export const hasSeedVectors = existsSync(seedLayout);

/** A directory that is removed when the test that asked for it has ended. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "mos-test-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Bytes that do not compress and are the same each time. */
export function noise(seed: string, length: number): Buffer {
  return createHash("shake256", { outputLength: length }).update(seed).digest();
}
