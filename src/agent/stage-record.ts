// What the two stages of a boot write down below /run/mos: for each other, for `mosctl status`, and for nothing that
// outlives the boot.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import * as z from "zod";
import { systemCode } from "../errors/mos-error.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import type { Places } from "../services/unit-names.ts";
import { stageOutcomeSchema } from "../trust/policy.ts";

const initrdSchema = z.strictObject({
  version: z.literal(1),
  outcome: stageOutcomeSchema,
  /** Whether the policy lets the device boot on. */
  bootsOn: z.boolean(),
  /** Generation whose units were written. */
  generation: z.int().min(1).optional(),
  /** Digest of its install.json. */
  manifest: z.custom<Digest>(isDigest).optional(),
  /** How the state was found, or why it was not, in the words of initrd-hooks/dracut/60mos/mos-state.sh. */
  state: z.string().max(4096).optional(),
  /** Services that are missing from the units, because something of theirs is not sound. */
  without: z.array(z.string()).max(4096).optional(),
  error: z.strictObject({ code: z.string(), message: z.string(), about: z.string().optional() }).optional(),
});

/** How the stage in the initrd ended in this boot. */
export type InitrdRecord = z.output<typeof initrdSchema>;

const serviceSchema = z.strictObject({
  version: z.literal(1),
  outcome: z.enum(["nothing-to-do", "applied", "unchanged", "no-generation", "refused"]),
});

/** What the service stage made of it at its first start in this boot. */
export type ServiceRecord = z.output<typeof serviceSchema>;

const initrdPath = ({ run }: Places): string => join(run, "initrd-stage.json");
const servicePath = ({ run }: Places): string => join(run, "service-stage.json");

/** A record, or undefined when there is none that makes sense: then the service stage does everything. */
export function readRunRecord<T>(path: string, schema: z.ZodType<T>): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Whole or not at all for who reads it; it does not outlive the boot, so nothing has to reach a disk. */
function write(path: string, record: object): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(`${path}.part`, `${JSON.stringify(record)}\n`, { mode: 0o644 });
  renameSync(`${path}.part`, path);
}

export function readInitrdRecord(places: Places): InitrdRecord | undefined {
  return readRunRecord(initrdPath(places), initrdSchema);
}

/** And says so to the script that lets the boot go on (mos-gate.sh), which reads no JSON. */
export function writeInitrdRecord(places: Places, record: InitrdRecord): void {
  write(initrdPath(places), record);
  if (record.bootsOn) writeFileSync(join(places.run, "boot-on"), "");
}

export function readServiceRecord(places: Places): ServiceRecord | undefined {
  return readRunRecord(servicePath(places), serviceSchema);
}

export function writeServiceRecord(places: Places, record: ServiceRecord): void {
  write(servicePath(places), record);
}

const settledPath = ({ run }: Places): string => join(run, "systems-settled");

/** Whether it has been seen to in this boot which system starts next. */
export function areSystemsSettled(places: Places): boolean {
  return existsSync(settledPath(places));
}

export function rememberSettledSystems(places: Places): void {
  write(settledPath(places), {});
}
