// The bodies of requests, checked at the door. Apart from api.ts, because a client needs none of it at its start.
import * as z from "zod";

const referenceSchema = z.string().min(1).max(4096);

export const updateRequestSchema = z.strictObject({
  reference: referenceSchema,
  allowOlder: z.boolean().default(false),
  retry: z.boolean().default(false),
});

export const rollbackRequestSchema = z.strictObject({
  generation: z.int().min(1).max(999_999_999).optional(),
});

export const verifyRequestSchema = z.strictObject({
  reference: referenceSchema,
  level: z.enum(["signature", "images", "content"]),
});

/** 16 to 64 bytes in hex; parseNonce() reads it. */
export const attestRequestSchema = z.strictObject({ nonce: z.string().max(128) });
