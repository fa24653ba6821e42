// Sizes and times in a manifest: whole MiB and whole seconds in install.json; in YAML a person may add a unit.
import * as z from "zod";

/** MiB. At most 1 PiB. */
export const mebibytesSchema = z
  .int("must be a whole number of MiB")
  .min(1, "must be at least 1")
  .max(2 ** 30, "must be at most 1073741824");

const sizeTextSchema = z
  .string()
  .regex(/^[1-9][0-9]{0,8}[MGT]$/, "must be MiB as a number, or a number with M, G or T")
  .transform(
    (text) =>
      Number(text.slice(0, -1)) * { M: 1, G: 1024, T: 1024 * 1024 }[text.slice(-1) as "M" | "G" | "T"],
  )
  .pipe(mebibytesSchema);

/** MiB, or `30G`, `512M`. */
export const sizeSchema: z.ZodType<number> = z.union([mebibytesSchema, sizeTextSchema]);

/** An hour; what takes longer to come up needs an operator, not patience. */
const hour = 3600;

/** Whole seconds. */
export function secondsSchema(min: number, max = hour) {
  return z
    .int("must be a whole number of seconds")
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`);
}

/** Seconds, or `500`, `30s`, `5m`, `1h`. */
export function durationSchema(min: number, max = hour): z.ZodType<number> {
  const units = { s: 1, m: 60, h: 3600 } as const;
  const text = z
    .string()
    .regex(/^[0-9]{1,6}[smh]$/, "must be seconds as a number, or a number with s, m or h")
    .transform((value) => Number(value.slice(0, -1)) * units[value.slice(-1) as keyof typeof units])
    .pipe(secondsSchema(min, max));
  return z.union([secondsSchema(min, max), text]);
}

/** How the two forms of a manifest write sizes and times. */
export interface Quantities {
  /** MiB. */
  readonly size: z.ZodType<number>;
  /** Seconds. */
  readonly duration: (min: number, max?: number) => z.ZodType<number>;
}

export const installQuantities: Quantities = { size: mebibytesSchema, duration: secondsSchema };
export const importQuantities: Quantities = { size: sizeSchema, duration: durationSchema };
