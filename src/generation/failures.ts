// Manifests that failed on this device, by digest: they are not tried again until somebody says so.
import { readFile } from "node:fs/promises";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import type { Places } from "../services/unit-names.ts";
import { writeFileAtomic } from "../system/atomic-file.ts";
import { parseStateDocument } from "../system/state-document.ts";
import { failuresPath } from "./places.ts";

const failureSchema = z.strictObject({
  digest: z.custom<Digest>(isDigest),
  generation: z.int().min(1),
  at: z.iso.datetime(),
  code: z.string().max(64),
  message: z.string().max(64 * 1024),
});

/** A manifest that failed, and why. */
export type Failure = z.infer<typeof failureSchema>;

/** As many as are remembered; the oldest is forgotten first. */
const maxFailures = 16;

const fileSchema = z.strictObject({
  version: z.literal(1),
  failures: z.array(failureSchema).max(maxFailures),
});

/**
 * The failures that are remembered, the oldest first.
 * @throws MosError `state-invalid` when the file is damaged, `state-newer`
 */
export async function readFailures(places: Places): Promise<readonly Failure[]> {
  const path = failuresPath(places);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
  const hint = "Remove the file; then a manifest that failed here may be tried once more.";
  return parseStateDocument(bytes, path, fileSchema, hint).failures;
}

async function readable(places: Places): Promise<readonly Failure[]> {
  try {
    return await readFailures(places);
  } catch (error) {
    // What is damaged says nothing; the next failure writes it anew.
    if (error instanceof MosError) return [];
    throw error;
  }
}

async function write(places: Places, failures: readonly Failure[]): Promise<void> {
  const document = { version: 1, failures: failures.slice(-maxFailures) };
  await writeFileAtomic(failuresPath(places), `${JSON.stringify(document)}\n`, 0o600);
}

/** How a manifest failed here; undefined when it did not. */
export async function failureOf(places: Places, digest: Digest): Promise<Failure | undefined> {
  return (await readable(places)).find((failure) => failure.digest === digest);
}

/** Remembers a failure, in place of an earlier one of the same manifest. */
export async function rememberFailure(places: Places, failure: Failure): Promise<void> {
  const others = (await readable(places)).filter(({ digest }) => digest !== failure.digest);
  await write(places, [...others, failure]);
}

/** Forgets a manifest's failure: it runs now. */
export async function forgetFailure(places: Places, digest: Digest): Promise<void> {
  const failures = await readable(places);
  const others = failures.filter((failure) => failure.digest !== digest);
  if (others.length < failures.length) await write(places, others);
}
