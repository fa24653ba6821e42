// What a run of `validator` has to say: problems, each with a code that never changes, and remarks for --verbose.
import type { ErrorCode } from "../errors/catalogue.ts";
import { systemCode } from "../errors/mos-error.ts";

/** Where problems and remarks go. */
export interface Report {
  readonly problem: (code: ErrorCode, message: string) => void;
  readonly info: (message: string) => void;
  /** Is told of each file that a strict installation has written, by its destination. */
  readonly installed?: (destination: string) => void;
}

/** As the C library says it (strerror of glibc), which is what scripts look for. */
const messages: Readonly<Record<string, string>> = {
  EACCES: "Permission denied",
  EEXIST: "File exists",
  EINVAL: "Invalid argument",
  EIO: "Input/output error",
  EISDIR: "Is a directory",
  ELOOP: "Too many levels of symbolic links",
  EMFILE: "Too many open files",
  ENAMETOOLONG: "File name too long",
  ENOENT: "No such file or directory",
  ENOSPC: "No space left on device",
  ENOTDIR: "Not a directory",
  ENOTEMPTY: "Directory not empty",
  ENXIO: "No such device or address",
  EPERM: "Operation not permitted",
  EROFS: "Read-only file system",
};

/** Why a system call failed. */
export function reasonOf(error: unknown): string {
  const code = systemCode(error);
  const known = code === undefined ? undefined : messages[code];
  return known ?? (error instanceof Error ? error.message : String(error));
}

/** The code of a system call that failed: that of the disk where it is one, or else a given one. */
export function codeOf(error: unknown, otherwise: ErrorCode): ErrorCode {
  switch (systemCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return "no-space";
    case "EACCES":
    case "EPERM":
      return "permission-denied";
    case "EIO":
    case "EROFS":
      return "io-failed";
    default:
      return otherwise;
  }
}
