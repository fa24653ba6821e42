// When a service counts as well, and how long a new generation has to become so. In install.json all times are whole
// seconds; in YAML they may have a unit.
import * as z from "zod";
import { durationSchema, secondsSchema } from "./quantity-schema.ts";

const portSchema = z
  .int("must be a whole number")
  .min(1, "must be 1 to 65535")
  .max(65535, "must be 1 to 65535");
const statusSchema = z.int().min(100, "must be 100 to 599").max(599, "must be 100 to 599");
const pathSchema = z
  .string()
  .max(1024)
  .regex(/^\/[\x21-\x7e]*$/, "must be an absolute path of printable ASCII characters, such as /healthz");
const argumentsSchema = z
  .array(
    z
      .string()
      .max(4096)
      .refine((text) => !text.includes("\0"), "must not have a NUL character"),
  )
  .min(1)
  .max(64)
  .refine(
    ([program]) => program !== undefined && pathSchema.safeParse(program).success,
    "must begin with the absolute path of a program, of printable ASCII characters without spaces",
  );

const countSchema = z.int().min(1).max(100);

/** How a service is asked; at most one way. */
const probes = {
  http: z
    .strictObject({
      port: portSchema.describe("Port that the service listens on, in its own network."),
      path: pathSchema.default("/").describe("What is asked for, with GET."),
      status: statusSchema.optional().describe("The answer's status; any of 200 to 399 when left out."),
    })
    .optional(),
  tcp: z.strictObject({ port: portSchema.describe("Port that has to accept a connection.") }).optional(),
  exec: argumentsSchema.optional(),
};

function isOneProbe({ http, tcp, exec }: { http?: unknown; tcp?: unknown; exec?: unknown }): boolean {
  return [http, tcp, exec].filter((probe) => probe !== undefined).length <= 1;
}
const oneProbe = "has more than one of http, tcp and exec";

// ---- install.json ------------------------------------------------------------------------------------------

export const installHealthSchema = z
  .strictObject({
    ...probes,
    interval: secondsSchema(1),
    timeout: secondsSchema(1),
    retries: countSchema,
    start_period: secondsSchema(0),
    required: z.boolean(),
  })
  .refine(isOneProbe, oneProbe);

export type Health = z.output<typeof installHealthSchema>;

export const installGateSchema = z.strictObject({
  timeout: secondsSchema(1),
  settle: secondsSchema(0),
  tries: countSchema,
});

/** How a new generation is judged as a whole. */
export type Gate = z.output<typeof installGateSchema>;

/** What holds where a manifest says nothing. */
export const defaultGate: Gate = { timeout: 300, settle: 3, tries: 3 };

// ---- manifest.yaml -----------------------------------------------------------------------------------------

export const importHealthSchema = z
  .strictObject({
    http: probes.http.describe("The service answers an HTTP request. Not with network `none`."),
    tcp: probes.tcp.describe("The service accepts a TCP connection. Not with network `none`."),
    exec: probes.exec.describe(
      "A program in the service's own root that exits with 0. The unit counts as started only then.",
    ),
    interval: durationSchema(1).default(2).describe("Between two attempts; `2s`, `1m`."),
    timeout: durationSchema(1).default(5).describe("For one attempt."),
    retries: countSchema
      .default(3)
      .describe("Attempts that have to fail one after the other before it counts."),
    start_period: durationSchema(0)
      .default(0)
      .describe("Time after the start in which failed attempts do not count."),
    required: z
      .boolean()
      .default(true)
      .describe("Whether an update is undone when this service does not become well."),
  })
  .refine(isOneProbe, oneProbe);

export const importGateSchema = z.strictObject({
  timeout: durationSchema(1)
    .default(defaultGate.timeout)
    .describe("In which all services have to be well; then the device goes back to what ran before."),
  settle: durationSchema(0).default(defaultGate.settle).describe("How long they have to stay well."),
  tries: countSchema
    .default(defaultGate.tries)
    .describe("How often the trial is begun when power cuts or crashes interrupt it."),
});
