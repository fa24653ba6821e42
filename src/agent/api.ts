// The socket API, version 1: HTTP/JSON over Unix sockets, so that curl --unix-socket is a client too. This file
// is the contract that server.ts and client.ts share.
import * as z from "zod";
import { catalogue, exitCodes } from "../errors/catalogue.ts";
import { type ErrorDocument, isErrorCode, MosError } from "../errors/mos-error.ts";
import type { ProgressEvent } from "./progress.ts";
import type { UpdateResult } from "./update.ts";

export const socketPaths = {
  /** For looking: everybody may connect. */
  status: "/run/mos/status.sock",
  /** For changing the device: root only, by the permissions of the socket. */
  control: "/run/mos/mosd.sock",
} as const;
export type SocketName = keyof typeof socketPaths;

/** Largest request body, bytes. */
export const maxRequestBytes = 128 * 1024;

const referenceSchema = z.string().min(1).max(4096);

export const updateRequestSchema = z.strictObject({ reference: referenceSchema });

export const verifyRequestSchema = z.strictObject({
  reference: referenceSchema,
  level: z.enum(["signature", "images", "content"]),
});

/** Server-sent events of a running update. */
export type UpdateEvent =
  | { readonly event: "progress"; readonly data: ProgressEvent }
  | { readonly event: "done"; readonly data: UpdateResult }
  | { readonly event: "error"; readonly data: ErrorDocument };

/** One event in the format of the HTML standard, section 9.2.6. */
export function formatEvent({ event, data }: UpdateEvent): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** HTTP status of an error, by its class. */
export function httpStatusOf(error: MosError): number {
  switch (error.exitCode) {
    case exitCodes.usage:
    case exitCodes.input:
      return 400;
    case exitCodes.busy:
      return 409;
    case exitCodes.refused:
      return 422;
    case exitCodes.source:
      return 502;
    case exitCodes.state:
      return 507;
    default:
      return 500;
  }
}

const errorSchema = z.object({
  code: z.string().refine(isErrorCode),
  message: z.string(),
  about: z.string().optional(),
  hint: z.string(),
  problems: z.array(z.string()).optional(),
});

/** The error of a document that the agent sent; an unknown code counts as the agent's own failure. */
export function readErrorDocument(document: unknown): MosError {
  const parsed = errorSchema.safeParse(document);
  if (!parsed.success)
    return new MosError("agent-failed", "mosd answered with an error that mosctl does not know");
  const { code, message, about, hint, problems } = parsed.data;
  return new MosError(code in catalogue ? code : "agent-failed", message, {
    hint,
    ...(about === undefined ? {} : { about }),
    ...(problems === undefined ? {} : { problems }),
  });
}
