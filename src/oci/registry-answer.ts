// What a registry says when it does not do what it was asked (distribution specification 1.1, "Error Codes"),
// as text that can be shown: bounded, and without characters that move a terminal. Pure.

import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { unicodeEscape } from "../system/unicode-escape.ts";

const errorsSchema = z.object({
  errors: z.array(z.object({ code: z.string(), message: z.string().optional() })).min(1),
});

const maxShown = 300;

/** Text from outside for a message: control and formatting characters escaped, at most 300 characters. */
export function escapeText(text: string): string {
  const escaped = text.trim().replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, unicodeEscape);
  return escaped.length > maxShown ? `${escaped.slice(0, maxShown)}…` : escaped;
}

/** The error of an answer: the registry's own codes and messages, or the beginning of whatever it sent. */
export function errorText(body: Uint8Array): string {
  try {
    const { errors } = errorsSchema.parse(parseJson(body, "answer"));
    return escapeText(
      errors.map(({ code, message }) => (message === undefined ? code : `${code}: ${message}`)).join("; "),
    );
  } catch {
    return escapeText(new TextDecoder().decode(body));
  }
}

/** The status behind a refusal, as its error's cause. */
class AnsweredStatus extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`answered ${status}`);
    this.status = status;
  }
}

/** Statuses of a registry that may do better in a moment (RFC 9110 section 15.6, RFC 6585 section 4). */
const passing: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

/** Whether the same request may well succeed when it is sent again. */
export function isPassing(error: MosError): boolean {
  if (error.cause instanceof AnsweredStatus) return passing.has(error.cause.status);
  return error.code === "registry-unreachable" && systemCode(error.cause) === "ECONNRESET";
}

/**
 * The error of an unexpected status.
 * @param request method and path, as sent
 */
export function refusal(
  code: "registry-refused" | "push-failed" | "not-found",
  doing: string,
  request: string,
  status: number,
  body: Uint8Array,
  about: string,
): MosError {
  const text = errorText(body);
  return new MosError(
    code,
    `${doing}: ${request} was answered with ${status}${text === "" ? "" : ` (${text})`}`,
    { about, cause: new AnsweredStatus(status) },
  );
}
