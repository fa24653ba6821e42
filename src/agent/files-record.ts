// What became of signed files and sets in the initrd, below /run/mos: for `mosctl status`, and for nothing that outlives
// the boot.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import type { Places } from "../services/unit-names.ts";

const problemSchema = z.strictObject({ code: z.string(), message: z.string() });

const filesSchema = z.strictObject({
  version: z.literal(1),
  /**
   * `installed`: something was written; `unchanged`: all of it was there; `incomplete`: something is not there yet, or was
   * refused; `no-state`: the device's state was not there, and nothing was tried.
   */
  outcome: z.enum(["installed", "unchanged", "incomplete", "no-state"]),
  /** Sets whose interrupted installation was finished, or taken back. */
  sets: z.array(z.string()),
  /** Apps whose files were put back. */
  apps: z.array(z.string()),
  /** Sets in levels of which something was put to its place, and those whose destination cannot be written yet. */
  levels: z.strictObject({ restored: z.array(z.string()), later: z.array(z.string()) }),
  /** Of configurations, in their order. */
  configs: z.array(
    z.strictObject({
      config: z.string(),
      outcome: z.enum(["installed", "unchanged", "no-source", "refused"]),
      written: z.int().min(0),
      problems: z.array(problemSchema),
    }),
  ),
  problems: z.array(problemSchema),
});

/** How the stage of signed files ended in the initrd of this boot. */
export type FilesRecord = z.output<typeof filesSchema>;

const recordPath = ({ run }: Places): string => join(run, "initrd-files.json");

/** Undefined where there was no such stage, or its record makes no sense. */
export function readFilesRecord(places: Places): FilesRecord | undefined {
  try {
    return filesSchema.safeParse(JSON.parse(readFileSync(recordPath(places), "utf8"))).data;
  } catch {
    return undefined;
  }
}

const gatePath = ({ run }: Places): string => join(run, "files-stop");

/** Says to mos-gate.sh that the boot must not go on. */
export function closeGate(places: Places): void {
  mkdirSync(places.run, { recursive: true, mode: 0o755 });
  writeFileSync(gatePath(places), "");
}

/** Takes that back. */
export function openGate(places: Places): void {
  rmSync(gatePath(places), { force: true });
}

/**
 * Whole or not at all for who reads it.
 * @param isDone nothing of it is left to the running system
 */
export function writeFilesRecord(places: Places, record: FilesRecord, isDone: boolean): void {
  mkdirSync(places.run, { recursive: true, mode: 0o755 });
  const path = recordPath(places);
  writeFileSync(`${path}.part`, `${JSON.stringify(record)}\n`, { mode: 0o644 });
  renameSync(`${path}.part`, path);
  // For mos-sets.service, which then has nothing to do.
  if (record.outcome !== "no-state" && isDone) writeFileSync(join(places.run, "sets-done"), "");
}
