// What a device does when none of its generations can be verified: it looks for a release in places of its own accord,
// and applies the first that it accepts, by the same checks as every update. Nothing of this asks a person for a shell.
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { asMosError, MosError } from "../errors/mos-error.ts";
import type { Places } from "../services/unit-names.ts";
import { writeFileAtomic } from "../system/atomic-file.ts";
import { unlink } from "../system/durable.ts";
import { mountUnitName } from "../systemd/escape.ts";
import type { AgentContext } from "./context.ts";
import { readRunRecord } from "./stage-record.ts";
import { loadUpdateSettings } from "./update-settings.ts";

/** Label of the file system of a medium; FAT has 11 characters for it. */
const mediumLabel = "MOS-RECOVER";

/** Tag of the release in the layout `mos` of a medium. */
const mediumRelease = "mos:recovery";

/** A release that may be tried. */
export interface RecoverySource {
  /** What it is, for a person. */
  readonly what: string;
  /** As `mosctl update` takes it. */
  readonly reference: string;
}

const recordSchema = z.strictObject({
  version: z.literal(1),
  /** RFC 3339: of the last attempt. */
  at: z.string(),
  /** What was tried, and why it was not taken. */
  attempts: z.array(z.strictObject({ what: z.string(), code: z.string(), message: z.string() })).max(16),
});

type RecoveryRecord = z.output<typeof recordSchema>;

const recordPath = ({ run }: Places): string => join(run, "recovery.json");

/** What was tried in this boot; undefined when nothing was. */
export function readRecovery(places: Places): RecoveryRecord | undefined {
  return readRunRecord(recordPath(places), recordSchema);
}

/** Mounts the medium for as long as it is used. */
async function onMedium<T>(
  { systemd, recovery: { directory } }: AgentContext,
  work: () => Promise<T>,
): Promise<T> {
  const unit = mountUnitName(directory);
  await systemd.startUnits([unit]);
  try {
    const [shown] = await systemd.showUnits([unit], ["ActiveState", "Result"]);
    if (shown?.["ActiveState"] === "active") return await work();
    throw new MosError("systemd-failed", `cannot mount the medium: ${shown?.["Result"] ?? "unknown"}`, {
      about: unit,
      hint: `systemctl status ${unit}`,
    });
  } finally {
    await systemd.stopUnits([unit]);
  }
}

interface Attempted<T> extends RecoverySource {
  readonly result: T;
}

/**
 * Tries the medium with the label {@link mediumLabel}, the channel of update.json and the release that came with the
 * system, in this order, until one is applied. What was tried is remembered for `mosctl status`.
 * @param apply applies a release as every update is applied
 * @throws MosError `recovery-failed` with the reason of each
 */
export async function recover<T>(
  context: AgentContext,
  apply: (source: RecoverySource) => Promise<T>,
): Promise<Attempted<T>> {
  const attempts: RecoveryRecord["attempts"] = [];
  const attempt = async (
    source: RecoverySource,
    work: () => Promise<T>,
  ): Promise<Attempted<T> | undefined> => {
    try {
      const result = await work();
      const record = recordPath(context.places);
      if (existsSync(record)) await unlink(record);
      return { ...source, result };
    } catch (thrown) {
      const { code, message } = asMosError(thrown);
      attempts.push({ what: source.what, code, message });
      return undefined;
    }
  };
  const { device, directory, factory } = context.recovery;
  const medium = { what: `the medium ${mediumLabel}`, reference: `oci:${join(directory, mediumRelease)}` };
  const settings = await loadUpdateSettings(context.updateSettings).catch(() => undefined);
  const channel = settings && { what: "the channel", reference: settings.channel };
  const came = { what: "the release that came with the system", reference: `oci:${factory}:factory` };
  const done =
    (existsSync(device) ? await attempt(medium, () => onMedium(context, () => apply(medium))) : undefined) ??
    (channel && (await attempt(channel, () => apply(channel)))) ??
    (existsSync(factory) ? await attempt(came, () => apply(came)) : undefined);
  if (done !== undefined) return done;
  const record: RecoveryRecord = { version: 1, at: new Date().toISOString(), attempts };
  await writeFileAtomic(recordPath(context.places), `${JSON.stringify(record)}\n`, 0o644);
  throw new MosError("recovery-failed", "cannot recover: there is no release that this device accepts", {
    problems: attempts.map(({ what, message }) => `${what}: ${message}`),
  });
}
