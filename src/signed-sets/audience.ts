// For whom a set is: everybody, devices of a class, or one machine. Sets of one name that say so are levels of one
// configuration, merged in this order: everybody, then the device's classes as its policy lists them, then the machine;
// a later one wins. Pure: what the device is comes from who calls (src/agent/level-identity.ts).
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { classSchema, machineSchema } from "../manifest/names.ts";
import { levelName } from "./level-name.ts";

const classesSchema = z
  .array(classSchema)
  .min(1)
  .max(64)
  .refine((classes) => classes.every((one, i) => i === 0 || (classes[i - 1] ?? "") < one), "is not sorted");

export const audienceSchema = z.discriminatedUnion("who", [
  z.strictObject({ who: z.literal("everybody") }),
  /** Devices of at least one of these classes. */
  z.strictObject({ who: z.literal("class"), classes: classesSchema }),
  z.strictObject({ who: z.literal("machine"), machine: machineSchema }),
]);

export type Audience = z.infer<typeof audienceSchema>;

/** What decides on a device which sets are for it. */
export interface LevelIdentity {
  /** Undefined where nothing that is trusted says which machine this is. */
  readonly machine: string | undefined;
  /** From the general to the special; undefined where the policy says nothing of classes. */
  readonly classes: readonly string[] | undefined;
}

function undecided(level: string, why: string, hint: string): MosError {
  return new MosError("set-undecided", `cannot tell whether a set for ${level} is for this device: ${why}`, {
    about: level,
    hint,
  });
}

/**
 * The place of a level in the merge on a device; of two, the higher one wins. A set for several classes has the place of
 * the last of them in the device's list.
 * @returns undefined when the level is for others
 * @throws MosError `set-undecided` where the device does not know what would decide
 */
export function rankOf(audience: Audience, { machine, classes }: LevelIdentity): number | undefined {
  switch (audience.who) {
    case "everybody":
      return 0;
    case "class": {
      if (classes === undefined) {
        const hint = 'The policy says so: "classes": [] for a device without any.';
        throw undecided(levelName(audience), "its policy says nothing of classes", hint);
      }
      const last = classes.findLastIndex((one) => audience.classes.includes(one));
      return last === -1 ? undefined : 1 + last;
    }
    case "machine": {
      if (machine === undefined) {
        const hint =
          "mos-trust provision gives a device a certificate; without a TPM, the policy's machine says it.";
        throw undecided(levelName(audience), "it does not know which machine it is", hint);
      }
      return machine === audience.machine ? 1 + (classes?.length ?? 0) : undefined;
    }
  }
}
