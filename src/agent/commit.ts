// Committing: a generation becomes the one that runs, at this and every later boot.
import { MosError } from "../errors/mos-error.ts";
import { addGeneration, makeCurrent, pointedGeneration } from "../generation/generations.ts";
import { generationPath, pointerPath } from "../generation/places.ts";
import { writeTrustRecord } from "../generation/trust-records.ts";
import type { Places } from "../services/unit-names.ts";
import { removeFile, removeWhole } from "../system/atomic-file.ts";
import { fault } from "../system/fault.ts";
import type { Candidate } from "./candidate.ts";
import type { AgentContext } from "./context.ts";

/**
 * Makes the manifest the one that runs. A change of trust takes effect in the same instant, because the generation
 * says how many records are its own.
 */
export async function commit(
  context: AgentContext,
  { parts, current, record }: Candidate,
  reference: string,
): Promise<number> {
  const { places } = context;
  const trustRecords = current.records.length + (record === undefined ? 0 : 1);
  await fault("commit.record");
  if (record !== undefined) await writeTrustRecord(places, trustRecords, record);
  await fault("commit.generation");
  const number = await addGeneration(places, parts, {
    version: 1,
    reference,
    acceptedAt: new Date().toISOString(),
    trustRecords,
  });
  try {
    await fault("commit.current");
    await moveCurrent(places, number);
  } catch (error) {
    // Nothing but a whole update leaves a generation behind.
    const current = await pointedGeneration(places, "current").catch(() => undefined);
    if (current !== number) await removeWhole(generationPath(places, number));
    throw error;
  }
  await fault("commit.end");
  return number;
}

/** Points `current` at a generation, also when it is bent. */
export async function moveCurrent(places: Places, number: number): Promise<void> {
  if (await isBent(places)) await removeFile(pointerPath(places, "current"));
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
