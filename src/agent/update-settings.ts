// When and from where a device updates itself. One JSON file, checked whole. None of it is trusted to say what is
// applied, which only signatures do.
import * as z from "zod";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { lengthOf, weekdays } from "../generation/update-window.ts";
import { formatProblem, problemsOf } from "../manifest/install-json.ts";
import { parseReference } from "../oci/reference.ts";
import { parseJson } from "../system/json.ts";
import { readTrusted } from "../trust/trusted-file.ts";

const timeSchema = z.string().regex(/^([01][0-9]|2[0-3]):[0-5][0-9]$/, "must be a time such as 02:30");

/** mos-update.timer asks every half hour: what is shorter could be missed for ever. */
const shortestMinutes = 60;

const windowSchema = z
  .strictObject({
    days: z
      .array(z.enum(weekdays))
      .min(1)
      .max(7)
      .default([...weekdays])
      .describe("Days on which the window begins."),
    from: timeSchema.describe("When it begins, `HH:MM`."),
    to: timeSchema.describe(
      "When it ends, `HH:MM`; on the next day when that is not after `from`. At least an hour later.",
    ),
    clock: z
      .enum(["local", "utc"])
      .default("local")
      .describe("Whether the times are of the device's own time zone."),
  })
  .refine(
    (window) => lengthOf(window) >= shortestMinutes,
    `must be at least ${shortestMinutes} minutes long`,
  );

function isChannel(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch {
    return false;
  }
}

export const updateSettingsSchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is").describe("Version of this format."),
  channel: z
    .string()
    .max(4096)
    .refine(isChannel, "must be a reference, such as registry.example.com/machine/install:stable")
    .describe("The manifest that the device follows, by a tag: what `mosctl update` takes."),
  window: windowSchema
    .optional()
    .describe(
      "When the device may update itself; at any time without it. An update that is not ready when the window ends waits for the next one, with what it has fetched.",
    ),
  whenIdle: z
    .boolean()
    .default(false)
    .describe("Whether it updates itself only while nothing is in `/run/mos/busy.d`."),
  rollout: z
    .enum(["follow", "ignore"])
    .default("follow")
    .describe(
      "`ignore`: a device for testing, which takes every release at once, whatever its rollout says.",
    ),
});

export type UpdateSettings = z.output<typeof updateSettingsSchema>;

const maxSize = 64 * 1024;

/**
 * The settings in the first of these files that is there; undefined when none is: the device does not update itself.
 * @throws MosError `update-settings-invalid`, also when others than its owner may write to the file
 */
export async function loadUpdateSettings(paths: readonly string[]): Promise<UpdateSettings | undefined> {
  for (const path of paths) {
    const file = await readTrusted(path, maxSize, "update-settings-invalid");
    if (file === undefined) continue;
    if (!file.isPrivate) {
      const hint = `chown root:root ${path}; chmod 644 ${path}`;
      throw invalid(path, "others than root may write to it", { hint });
    }
    return parseSettings(file.bytes, path);
  }
  return undefined;
}

function invalid(
  path: string,
  why: string,
  details: { hint?: string; problems?: readonly string[] } = {},
): MosError {
  return new MosError("update-settings-invalid", `cannot use ${path}: ${why}`, { about: path, ...details });
}

function parseSettings(bytes: Uint8Array, path: string): UpdateSettings {
  let document: unknown;
  try {
    document = parseJson(bytes, path);
  } catch (error) {
    throw invalid(path, asMosError(error).message);
  }
  const result = updateSettingsSchema.safeParse(document);
  if (result.success) return result.data;
  const problems = problemsOf(result.error).map(formatProblem);
  throw invalid(path, problems[0] ?? "it does not fit", { problems });
}
