// The bodies of requests, checked at the door. Apart from api.ts, because a client needs none of it at its start.
import * as z from "zod";
import { nameSchema } from "../manifest/names.ts";

const referenceSchema = z.string().min(1).max(4096);

/** A week: what is held longer needs a person. */
const maxWaitSeconds = 7 * 24 * 3600;

export const updateRequestSchema = z.strictObject({
  reference: referenceSchema,
  allowOlder: z.boolean().default(false),
  retry: z.boolean().default(false),
  follow: z.boolean().default(true),
  waitSeconds: z.int().min(0).max(maxWaitSeconds).default(0),
  whenIdle: z.boolean().default(false),
});

export const gcRequestSchema = z.strictObject({ dryRun: z.boolean().default(false) });

export const activateRequestSchema = z.strictObject({ service: nameSchema.optional() });

export const serviceRequestSchema = z.strictObject({
  service: nameSchema,
  action: z.enum(["start", "stop", "restart"]),
});

/** More than a service has on its command line; all of a request is limited as well. */
const maxWords = 1000;

export const execRequestSchema = z.strictObject({
  service: nameSchema,
  command: z
    .array(z.string().regex(/^[^\0]*$/))
    .min(1)
    .max(maxWords)
    .refine(([program]) => program !== "", "the program is empty"),
  input: z.base64().optional(),
});

/** In a query everything is text. */
const truth = z
  .enum(["true", "false"])
  .default("false")
  .transform((text) => text === "true");
export const logsRequestSchema = z.strictObject({
  service: nameSchema,
  lines: z
    .string()
    .regex(/^[1-9][0-9]{0,6}$/)
    .transform(Number)
    .optional(),
  since: z.iso
    .datetime({ offset: true })
    .transform((text) => new Date(text))
    .optional(),
  follow: truth,
});

/** As in manifest/names.ts. */
export const exportRequestSchema = z.strictObject({ label: nameSchema, stop: truth, live: truth });
export const importRequestSchema = z.strictObject({ label: nameSchema, stop: truth });

const numberText = z
  .string()
  .regex(/^[1-9][0-9]{0,8}$/)
  .transform(Number);
export const diffRequestSchema = z.strictObject({ from: numberText.optional(), to: numberText.optional() });

export const rollbackRequestSchema = z.strictObject({
  generation: z.int().min(1).max(999_999_999).optional(),
});

export const verifyRequestSchema = z.strictObject({
  reference: referenceSchema,
  level: z.enum(["signature", "images", "content"]),
});

/** 16 to 64 bytes in hex; parseNonce() reads it. */
export const attestRequestSchema = z.strictObject({ nonce: z.string().max(128) });
