// Generations on disk: each a directory with the exact bytes that were signed, their signature and certificate,
// and a record of how it came here. A generation appears whole by rename, and runs once `current` points to it.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import type { Places } from "../services/unit-names.ts";
import { addDirectory, readSymlink, replaceSymlink } from "../system/atomic-file.ts";
import { parseJson } from "../system/json.ts";
import { generationPath, generationsPath, pointerPath } from "./places.ts";
import { readSignedParts, readStateFile, type SignedParts, signedFiles } from "./signed-parts.ts";

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** Where it was fetched from. */
  reference: z.string().max(4096),
  /** When it was accepted, by the clock of the device (RFC 3339). */
  acceptedAt: z.iso.datetime(),
  /** How many releases that change trust were accepted up to this one (trust-records.ts). */
  trustRecords: z.int().min(0).default(0),
});

export type GenerationRecord = z.infer<typeof recordSchema>;

export interface Generation extends SignedParts {
  readonly number: number;
  readonly record: GenerationRecord;
}

const recordName = "generation.json";

function numberOf(name: string): number | undefined {
  return /^[1-9][0-9]{0,8}$/.test(name) ? Number(name) : undefined;
}

/** Numbers of all generations on disk, ascending. */
export async function listGenerations(places: Places): Promise<number[]> {
  try {
    const names = await readdir(generationsPath(places));
    return names.flatMap((name) => numberOf(name) ?? []).sort((a, b) => a - b);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/**
 * Which generation a pointer names, or undefined when there is none yet.
 * @throws MosError `state-invalid` when it points anywhere but at a generation
 */
export async function pointedGeneration(
  places: Places,
  pointer: "current" | "previous",
): Promise<number | undefined> {
  const path = pointerPath(places, pointer);
  const target = await readSymlink(path).catch((error: unknown) => {
    if (systemCode(error) === "EINVAL") return ""; // something else than a link
    throw error;
  });
  if (target === undefined) return undefined;
  const number = target.startsWith("generations/")
    ? numberOf(target.slice("generations/".length))
    : undefined;
  if (number === undefined)
    throw new MosError("state-invalid", `${path} does not point to a generation`, { about: path });
  return number;
}

/** Reads a generation as it lies on disk; nothing in it is trusted yet. @throws MosError `state-invalid` */
export async function readGeneration(places: Places, number: number): Promise<Generation> {
  const directory = generationPath(places, number);
  const [parts, recordBytes] = await Promise.all([
    readSignedParts(directory),
    readStateFile(join(directory, recordName), 64 * 1024),
  ]);
  const record = recordSchema.safeParse(parseJson(recordBytes, join(directory, recordName)));
  if (!record.success) {
    throw new MosError(
      "state-invalid",
      `${join(directory, recordName)} is damaged: ${z.prettifyError(record.error)}`,
      {
        about: directory,
      },
    );
  }
  return { number, ...parts, record: record.data };
}

/**
 * Writes a new generation, whole and durable, under the next free number.
 * It does not run before {@link makeCurrent}.
 */
export async function addGeneration(
  places: Places,
  parts: SignedParts,
  record: GenerationRecord,
): Promise<number> {
  const number = ((await listGenerations(places)).at(-1) ?? 0) + 1;
  await addDirectory(generationPath(places, number), [
    ...signedFiles(parts),
    [recordName, Buffer.from(`${JSON.stringify(record)}\n`)],
  ]);
  return number;
}

/** Makes a generation the one that runs, at this and every later boot. The one before becomes `previous`. */
export async function makeCurrent(places: Places, number: number): Promise<void> {
  const before = await pointedGeneration(places, "current");
  if (before === number) return;
  if (before !== undefined) await replaceSymlink(pointerPath(places, "previous"), `generations/${before}`);
  await replaceSymlink(pointerPath(places, "current"), `generations/${number}`);
}
