// Generations on disk: each a directory with the exact bytes that were signed, their signature and certificate,
// and a record of how it came here. A generation appears whole by rename, and runs once `current` points to it.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import type { Places } from "../services/unit-names.ts";
import { addDirectory, readSymlink, removeWhole, replaceSymlink } from "../system/atomic-file.ts";
import { parseStateDocument } from "../system/state-document.ts";
import { generationPath, generationsPath, pointerPath } from "./places.ts";
import {
  hasSignedParts,
  readSignedParts,
  readStateFile,
  type SignedParts,
  signedFiles,
} from "./signed-parts.ts";

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** Where it was fetched from. */
  reference: z.string().max(4096),
  /** When it was accepted, by the clock of the device (RFC 3339). */
  acceptedAt: z.iso.datetime(),
  /** Digest of the artifact that the manifest came in; absent in generations of before it was kept. */
  artifact: z.custom<Digest>(isDigest).optional(),
  /** How many releases that change trust were accepted up to this one (trust-records.ts). */
  trustRecords: z.int().min(0).default(0),
});

export type GenerationRecord = z.infer<typeof recordSchema>;

/** What was signed, and on what it stands. */
export interface GenerationContent extends SignedParts {
  /** For a partial manifest: those that were applied before it and of which something stays, the oldest first. */
  readonly bases: readonly SignedParts[];
}

export interface Generation extends GenerationContent {
  readonly number: number;
  readonly record: GenerationRecord;
}

/** As many manifests as one generation may consist of; then a complete one is due. */
export const maxBases = 32;

function basePrefix(index: number): string {
  return `base-${index + 1}-`;
}

async function readBases(directory: string): Promise<SignedParts[]> {
  const bases: SignedParts[] = [];
  while (bases.length < maxBases && (await hasSignedParts(directory, basePrefix(bases.length))))
    bases.push(await readSignedParts(directory, basePrefix(bases.length)));
  return bases;
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

/** Reads a generation as it lies on disk; nothing in it is trusted yet. @throws MosError `state-invalid`, `state-newer` */
export async function readGeneration(places: Places, number: number): Promise<Generation> {
  const directory = generationPath(places, number);
  const [parts, bases, recordBytes] = await Promise.all([
    readSignedParts(directory),
    readBases(directory),
    readStateFile(join(directory, recordName), 64 * 1024),
  ]);
  const record = parseStateDocument(recordBytes, join(directory, recordName), recordSchema);
  return { number, ...parts, bases, record };
}

/**
 * Writes a new generation, whole and durable, under the next free number.
 * It does not run before {@link makeCurrent}.
 */
export async function addGeneration(
  places: Places,
  content: GenerationContent,
  record: GenerationRecord,
): Promise<number> {
  const number = ((await listGenerations(places)).at(-1) ?? 0) + 1;
  await addDirectory(generationPath(places, number), [
    ...signedFiles(content),
    ...content.bases.flatMap((base, i) => [...signedFiles(base, basePrefix(i))]),
    [recordName, Buffer.from(`${JSON.stringify(record)}\n`)],
  ]);
  return number;
}

/** Removes a generation that no pointer names. */
export async function removeGeneration(places: Places, number: number): Promise<void> {
  await removeWhole(generationPath(places, number));
}

/** Makes a generation the one that runs, at this and every later boot. The one before becomes `previous`. */
export async function makeCurrent(places: Places, number: number): Promise<void> {
  const before = await pointedGeneration(places, "current");
  if (before === number) return;
  if (before !== undefined) await replaceSymlink(pointerPath(places, "previous"), `generations/${before}`);
  await replaceSymlink(pointerPath(places, "current"), `generations/${number}`);
}
