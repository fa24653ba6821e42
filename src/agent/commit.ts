// A generation comes to the disk, and becomes the one that runs at this and every later boot.
import { MosError } from "../errors/mos-error.ts";
import { addGeneration, makeCurrent, pointedGeneration } from "../generation/generations.ts";
import { pointerPath } from "../generation/places.ts";
import type { SignedParts } from "../generation/signed-parts.ts";
import { writeTrustRecord } from "../generation/trust-records.ts";
import type { Places } from "../services/unit-names.ts";
import { discard } from "../system/atomic-file.ts";
import { fault } from "../system/fault.ts";
import type { Candidate } from "./candidate.ts";
import type { AgentContext } from "./context.ts";

/**
 * Writes an accepted manifest as a generation, whole and durable. It does not run before a transaction makes it. A change
 * of trust is part of it: the generation says how many records are its own.
 */
export async function add(
  context: AgentContext,
  { artifact, parts, current, record }: Candidate,
  bases: readonly SignedParts[],
  reference: string,
): Promise<number> {
  const { places } = context;
  const trustRecords = current.records.length + (record === undefined ? 0 : 1);
  await fault("commit.record");
  if (record !== undefined) await writeTrustRecord(places, trustRecords, record);
  const acceptedAt = new Date().toISOString();
  await fault("commit.generation");
  return await addGeneration(
    places,
    { ...parts, bases },
    { version: 1, reference, acceptedAt, artifact, trustRecords },
  );
}

/** Points `current` at a generation, also when it is bent. */
export async function moveCurrent(places: Places, number: number): Promise<void> {
  await fault("commit.current");
  if (await isBent(places)) await discard(pointerPath(places, "current"));
  await makeCurrent(places, number);
}

/** Whether `current` points to no generation; then nothing runs from it, and the new one takes its place. */
async function isBent(places: Places): Promise<boolean> {
  try {
    await pointedGeneration(places, "current");
    return false;
  } catch (error) {
    if (error instanceof MosError) return true;
    throw error;
  }
}
