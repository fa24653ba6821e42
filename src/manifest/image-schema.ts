// What a service runs and what it says of itself: of a `rootfs:` source, or over what its image says.
import * as z from "zod";
import { containerPathSchema } from "./names.ts";

/** What becomes an argument or a variable: anything but a NUL, which ends a C string, and lone surrogates. */
const textSchema = z
  .string()
  .max(4096, "must not be longer than 4096 characters")
  .refine((text) => text.isWellFormed() && !text.includes("\0"), "must not have a NUL character");
const argumentsSchema = z.array(textSchema).max(256);
/** A program and its arguments. */
export const programSchema = argumentsSchema
  .min(1)
  .refine(
    ([program]) => program !== undefined && /^\/[\x21-\x7e]*$/.test(program),
    "must begin with the absolute path of a program, of printable ASCII characters without spaces",
  );

/** Image configuration (OCI image specification 1.1, config): of a `rootfs:` source, or over that of an image. */
export const imageSchema = z.strictObject({
  entrypoint: argumentsSchema
    .optional()
    .describe(
      "Program and first arguments; a container of a `rootfs:` source needs this or `cmd`. Over an image: its own `Cmd` is dropped as well.",
    ),
  cmd: argumentsSchema.optional().describe("Arguments after `entrypoint`."),
  env: z
    .array(textSchema.regex(/^[A-Za-z_][A-Za-z0-9_]*=/, "must be NAME=value"))
    .max(256)
    .optional()
    .describe("Environment, each as `NAME=value`. Over an image: added to its own. No place for secrets."),
  user: z
    .string()
    .max(128)
    .regex(
      /^([A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?)?$/,
      "must be USER or USER:GROUP, names or numbers",
    )
    .optional()
    .describe("`USER[:GROUP]`, names of the image or numbers; root of the namespace when empty."),
  working_dir: z
    .union([z.literal(""), z.literal("/"), containerPathSchema])
    .optional()
    .describe("Directory in which the program starts."),
  stop_signal: z
    .string()
    .regex(/^(SIG[A-Z]{2,6}[0-9]?|[1-9][0-9]?)$/, "must be a signal, such as SIGINT or 2")
    .optional()
    .describe("What asks the service to end; SIGTERM when neither the image nor this says."),
  labels: z
    .record(
      z
        .string()
        .regex(/^[A-Za-z0-9][A-Za-z0-9_./-]{0,127}$/, "must be letters, digits, '_', '.', '/' and '-'"),
      textSchema,
    )
    .refine((labels) => Object.keys(labels).length <= 128, "must not be more than 128")
    .optional()
    .describe("Labels of the container, for podman's own commands. Over an image: added to its own."),
  exposed_ports: z
    .array(z.string().regex(/^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?\/(tcp|udp)$/, "must be such as 8080/tcp"))
    .max(256)
    .optional()
    .describe(
      "Ports that the service listens on, as `8080/tcp`: a note, `network.ports` publishes. Over an image: instead of its own.",
    ),
  volumes: z
    .array(containerPathSchema)
    .max(64)
    .optional()
    .describe(
      "Directories that the image writes to. On a read-only root each that is not in `storage` is memory, as large as `limits.scratch`, and begins with what the image has there; elsewhere scratch holds them. Over an image: instead of its own.",
    ),
  healthcheck: z
    .literal("none")
    .optional()
    .describe("`none`: the image's own health check is not asked. It is when the manifest has no `health`."),
});
export type ImageOverrides = z.output<typeof imageSchema>;
