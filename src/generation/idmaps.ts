// The allocations of uid ranges, kept in /var/lib/mos/idmaps.json, and the ranges of the system that
// they must stay away from.
import { readFile } from "node:fs/promises";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { nameSchema } from "../manifest/names.ts";
import { allocateRanges, type IdMaps, type IdRange, lowestId, rangeLength } from "../services/idmap.ts";
import type { Places } from "../services/unit-names.ts";
import { writeFileAtomic } from "../system/atomic-file.ts";
import { parseStateDocument } from "../system/state-document.ts";
import { idmapsPath } from "./places.ts";

const fileSchema = z.strictObject({
  version: z.literal(1),
  maps: z.array(
    z.strictObject({
      nsgroup: nameSchema,
      hostid: z
        .int()
        .min(lowestId)
        .max(2 ** 31 - rangeLength),
    }),
  ),
});

/**
 * Reads the allocations; none when the file is not there yet.
 * @throws MosError `state-invalid` when it is damaged or two ranges overlap, `state-newer`
 */
export async function readIdMaps(places: Places): Promise<IdMaps> {
  const path = idmapsPath(places);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return new Map();
    throw error;
  }
  const { maps } = parseStateDocument(bytes, path, fileSchema);
  const sorted = [...maps].sort((a, b) => a.hostid - b.hostid);
  for (const [i, { nsgroup, hostid }] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before !== undefined && hostid < before.hostid + rangeLength) {
      throw new MosError(
        "state-invalid",
        `${path} gives overlapping uid ranges to ${before.nsgroup} and ${nsgroup}`,
        {
          about: path,
          hint: "Files of one group could belong to the other. Restore the file, or remove it if no volume is in use.",
        },
      );
    }
  }
  return new Map(maps.map(({ nsgroup, hostid }) => [nsgroup, hostid]));
}

async function writeIdMaps(places: Places, idmaps: IdMaps): Promise<void> {
  const maps = [...idmaps].map(([nsgroup, hostid]) => ({ nsgroup, hostid }));
  await writeFileAtomic(idmapsPath(places), `${JSON.stringify({ version: 1, maps })}\n`, 0o600);
}

/** Gives back the ranges of groups of which nothing is left. @throws MosError `state-invalid` */
export async function releaseIdMaps(places: Places, groups: readonly string[]): Promise<void> {
  const existing = await readIdMaps(places);
  const left = new Map([...existing].filter(([group]) => !groups.includes(group)));
  if (left.size < existing.size) await writeIdMaps(places, left);
}

/** Ranges of /etc/subuid and /etc/subgid (subuid(5)); lines that are not of its form are skipped. */
export function parseSubordinateIds(text: string): IdRange[] {
  return text.split("\n").flatMap((line) => {
    const match = /^[^:]+:([0-9]{1,10}):([0-9]{1,10})$/.exec(line.trim());
    return match === null ? [] : [{ first: Number(match[1]), length: Number(match[2]) }];
  });
}

async function reservedRanges(): Promise<IdRange[]> {
  const texts = await Promise.all(
    ["/etc/subuid", "/etc/subgid"].map((path) => readFile(path, "utf8").catch(() => "")),
  );
  return texts.flatMap(parseSubordinateIds);
}

/**
 * Gives every group a range and writes the file when one is new.
 * @throws MosError `idmap-exhausted`, `state-invalid`
 */
export async function ensureIdMaps(places: Places, groups: readonly string[]): Promise<IdMaps> {
  const existing = await readIdMaps(places);
  const result = allocateRanges(existing, groups, await reservedRanges());
  if ("exhausted" in result) {
    throw new MosError(
      "idmap-exhausted",
      `there is no free uid range left for the nsgroup ${result.exhausted}`,
      {
        about: result.exhausted,
      },
    );
  }
  if (result.maps.size !== existing.size) await writeIdMaps(places, result.maps);
  return result.maps;
}
