// What names in a manifest may look like. They become file names, unit names, device names and arguments, so
// the alphabet is small and the same everywhere.
import * as z from "zod";

/** Longest service, group or label name: unit names derived from it stay below systemd's 255. */
const nameMax = 63;

const namePattern = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** A service name, nsgroup or volume label. */
export const nameSchema = z
  .string()
  .min(1, "must not be empty")
  .max(nameMax, `must not be longer than ${nameMax} characters`)
  .regex(namePattern, "may have letters, digits, '_', '.' and '-' only, beginning with a letter or digit")
  .refine((name) => !name.includes(".."), "must not contain '..'");

/** Name of a secret, which is the name of its file: as systemd's credentials are called (systemd-creds(1)). */
export const secretNameSchema = z
  .string()
  .min(1, "must not be empty")
  .max(64, "must not be longer than 64 characters")
  .regex(namePattern, "may have letters, digits, '_', '.' and '-' only, beginning with a letter or digit");

/** A class of devices, such as `kiosk`. */
export const classSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,63}$/,
    "must be a class: lower-case letters, digits and . _ -, beginning with a letter or digit",
  );

/** What one machine is called: SN of a device's certificate (src/trust/product.ts), or what its policy says. */
export const machineSchema = z
  .string()
  .regex(/^[\x21-\x7e]{1,255}$/, "must be the name of a machine: printable, without spaces");

/** Free text that people see and that lands in unit files: printable, on one line. */
export function lineSchema(max: number): z.ZodType<string> {
  return z
    .string()
    .min(1, "must not be empty")
    .max(max, `must not be longer than ${max} characters`)
    .refine(
      (text) => text.isWellFormed() && !/\p{Cc}|\p{Zl}|\p{Zp}/u.test(text),
      "must be one line of printable text",
    );
}

/** An absolute path inside a container: normalised, and without what podman's volume syntax would read. */
export const containerPathSchema = lineSchema(1024)
  .refine((path) => path.startsWith("/"), "must be an absolute path")
  .refine((path) => path !== "/", "must not be the root directory")
  .refine(
    (path) =>
      path
        .split("/")
        .slice(1)
        .every((part) => part !== "" && part !== "." && part !== ".."),
    "must not have empty, '.' or '..' parts",
  )
  .refine((path) => !/[:,"'\\%$]/.test(path), "must not have any of : , \" ' \\ % $");

/** Labels that name partitions of the published system (reference: storage labels it reserves). */
export const reservedLabels: ReadonlySet<string> = new Set([
  "esp",
  "pbf",
  "sbf",
  "machine-config",
  "machine-store",
  "machine-scratch",
]);

/** An nsgroup that means the host's own uid map. */
export function isHostGroup(nsgroup: string): boolean {
  return nsgroup === "" || nsgroup === "none";
}
