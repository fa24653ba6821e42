// Generations on disk: each a directory with the exact bytes that were signed, their signature and certificate,
// and a record of how it came here. A generation appears whole by rename, and runs once `current` points to it.
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { limits } from "../oci/model.ts";
import type { Places } from "../services/unit-names.ts";
import { makeDirectory, readSymlink, replaceSymlink, syncDirectory } from "../system/atomic-file.ts";
import { parseJson } from "../system/json.ts";
import { generationPath, generationsPath, pointerPath } from "./places.ts";

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** Where it was fetched from. */
  reference: z.string().max(4096),
  /** When it was accepted, by the clock of the device (RFC 3339). */
  acceptedAt: z.iso.datetime(),
});

export type GenerationRecord = z.infer<typeof recordSchema>;

/** The signed parts of a manifest, as received. */
export interface SignedParts {
  readonly manifest: Uint8Array;
  readonly signature: Uint8Array;
  /** PEM, the signing certificate first. */
  readonly certificates: Uint8Array;
}

export interface Generation extends SignedParts {
  readonly number: number;
  readonly record: GenerationRecord;
}

const files = {
  manifest: "install.json",
  signature: "install.json.signed",
  certificates: "cert.pem",
  record: "generation.json",
} as const;

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
  const target = await readSymlink(path);
  if (target === undefined) return undefined;
  const number = target.startsWith("generations/")
    ? numberOf(target.slice("generations/".length))
    : undefined;
  if (number === undefined)
    throw new MosError("state-invalid", `${path} does not point to a generation`, { about: path });
  return number;
}

async function readBounded(path: string, limit: number): Promise<Uint8Array> {
  try {
    if ((await stat(path)).size > limit) {
      throw new MosError("state-invalid", `${path} is larger than the ${limit} bytes it may have`, {
        about: path,
      });
    }
    return await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") {
      throw new MosError("state-invalid", `${path} is missing`, { about: path, cause: error });
    }
    throw error;
  }
}

/** Reads a generation as it lies on disk; nothing in it is trusted yet. @throws MosError `state-invalid` */
export async function readGeneration(places: Places, number: number): Promise<Generation> {
  const directory = generationPath(places, number);
  const [manifest, signature, certificates, recordBytes] = await Promise.all([
    readBounded(join(directory, files.manifest), limits.installManifest),
    readBounded(join(directory, files.signature), limits.signature),
    readBounded(join(directory, files.certificates), limits.certificate),
    readBounded(join(directory, files.record), 64 * 1024),
  ]);
  const record = recordSchema.safeParse(parseJson(recordBytes, join(directory, files.record)));
  if (!record.success) {
    throw new MosError(
      "state-invalid",
      `${join(directory, files.record)} is damaged: ${z.prettifyError(record.error)}`,
      {
        about: directory,
      },
    );
  }
  return { number, manifest, signature, certificates, record: record.data };
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
  await makeDirectory(generationsPath(places), 0o700);
  const number = ((await listGenerations(places)).at(-1) ?? 0) + 1;
  const temporary = join(generationsPath(places), `.${number}.tmp`);
  await rm(temporary, { recursive: true, force: true });
  try {
    await mkdir(temporary, { mode: 0o700 });
    const contents = [
      [files.manifest, parts.manifest],
      [files.signature, parts.signature],
      [files.certificates, parts.certificates],
      [files.record, `${JSON.stringify(record)}\n`],
    ] as const;
    for (const [name, content] of contents) {
      const handle = await open(join(temporary, name), "wx", 0o600);
      try {
        await handle.writeFile(content);
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    await syncDirectory(temporary);
    await rename(temporary, generationPath(places, number));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncDirectory(generationsPath(places));
  return number;
}

/** Makes a generation the one that runs, at this and every later boot. The one before becomes `previous`. */
export async function makeCurrent(places: Places, number: number): Promise<void> {
  const before = await pointedGeneration(places, "current");
  if (before === number) return;
  if (before !== undefined) await replaceSymlink(pointerPath(places, "previous"), `generations/${before}`);
  await replaceSymlink(pointerPath(places, "current"), `generations/${number}`);
}
