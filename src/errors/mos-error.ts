// Errors are values: a stable code, a sentence for a person, the thing it is about, and what to do.
import { catalogue, type ErrorCode } from "./catalogue.ts";

interface Details {
  /** The file, reference, digest, unit or field that the error is about. */
  readonly about?: string;
  /** What to do; the catalogue's own hint when absent. */
  readonly hint?: string;
  /** Every problem found, where a person will want to mend them all at once. */
  readonly problems?: readonly string[];
  readonly cause?: unknown;
}

/** What crosses the socket and what `--json` prints for an error. */
export interface ErrorDocument {
  readonly code: ErrorCode;
  readonly message: string;
  readonly about?: string;
  readonly hint: string;
  readonly problems?: readonly string[];
}

/** The only error class that mos throws on purpose. */
export class MosError extends Error {
  override readonly name = "MosError";
  readonly code: ErrorCode;
  readonly about: string | undefined;
  readonly hint: string;
  readonly problems: readonly string[];

  constructor(code: ErrorCode, message: string, details: Details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.about = details.about;
    this.hint = details.hint ?? catalogue[code].hint;
    this.problems = details.problems ?? [];
  }

  get exitCode(): number {
    return catalogue[this.code].exit;
  }

  toDocument(): ErrorDocument {
    return {
      code: this.code,
      message: this.message,
      ...(this.about === undefined ? {} : { about: this.about }),
      hint: this.hint,
      ...(this.problems.length === 0 ? {} : { problems: this.problems }),
    };
  }
}

/** Whether a code is one of the catalogue's, for text that came from outside. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(catalogue, text);
}

/** The system's error code (`ENOENT`, …) of anything thrown, or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/**
 * Turns anything thrown into a MosError. A full disk, a missing permission and other I/O failures keep their
 * own code wherever they happened; the rest is a defect of mos and says so.
 */
export function asMosError(error: unknown, about?: string): MosError {
  if (error instanceof MosError) return error;
  const details = { cause: error, ...(about === undefined ? {} : { about }) };
  const message = error instanceof Error ? error.message : String(error);
  switch (systemCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return new MosError("no-space", `cannot write: no space left (${message})`, details);
    case "EACCES":
    case "EPERM":
      return new MosError("permission-denied", `not permitted (${message})`, details);
    case "EIO":
    case "EROFS":
    case "EMFILE":
    case "ENOTDIR":
    case "EISDIR":
    case "ENOENT":
    case "ENOTEMPTY":
    case "ELOOP":
      return new MosError("io-failed", message, details);
    default:
      return new MosError("internal", message, details);
  }
}
