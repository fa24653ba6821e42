// The socket API, version 1: HTTP/JSON over Unix sockets, so that curl --unix-socket is a client too. This file
// is the contract that server.ts and client.ts share.
import { exitCodes } from "../errors/catalogue.ts";
import { type ErrorDocument, isErrorCode, MosError } from "../errors/mos-error.ts";
import type { ProgressEvent } from "./progress.ts";
import type { RollbackResult } from "./rollback.ts";
import type { UnattendedResult } from "./unattended.ts";
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

/** What an operation that streams its events ends with. */
export type OperationResult = UpdateResult | RollbackResult | UnattendedResult;

/** What a program inside a service printed; `data` in base64. */
export interface ExecOutput {
  readonly stream: "stdout" | "stderr";
  readonly data: string;
}

/** How it ended, as podman-exec(1) has it. */
export interface ExecResult {
  readonly exitCode: number;
}

/** What a service wrote at a time (RFC 3339); `priority` as in syslog(3). */
export interface LogEntry {
  readonly time: string;
  readonly priority?: number;
  readonly message: string;
}

/** Server-sent events of a program inside a service. */
export type ExecEvent =
  | { readonly event: "output"; readonly data: ExecOutput }
  | { readonly event: "done"; readonly data: ExecResult };

/** Server-sent events of a transaction. */
export type TransactionEvent =
  | { readonly event: "progress"; readonly data: ProgressEvent }
  | { readonly event: "done"; readonly data: OperationResult }
  | { readonly event: "error"; readonly data: ErrorDocument };

/** One event in the format of the HTML standard, section 9.2.6. */
export function formatEvent({ event, data }: TransactionEvent | ExecEvent): string {
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

function textsOf(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
}

/** The error of a document that the agent sent; what is not of its form is the agent's own failure. */
export function readErrorDocument(document: unknown): MosError {
  const fields: { [key: string]: unknown } = { ...(typeof document === "object" ? document : null) };
  const { code, message, about, hint } = fields;
  if (typeof code !== "string" || !isErrorCode(code) || typeof message !== "string") {
    return new MosError("agent-failed", "mosd answered with an error that mosctl does not know");
  }
  const problems = textsOf(fields["problems"]);
  return new MosError(code, message, {
    ...(typeof hint === "string" ? { hint } : {}),
    ...(typeof about === "string" ? { about } : {}),
    ...(problems === undefined ? {} : { problems }),
  });
}
