// MOS_FAULT at the start of a program: what a test asks for has to happen or to be refused, never nothing.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { hasFaultPoints } from "../system/fault.ts";
import { parseFaults } from "../system/fault-injection.ts";
import { reportError } from "./error-report.ts";
import { openTerminal } from "./terminal.ts";

/** Checks MOS_FAULT. @returns whether it was refused; the program then ends, and says why */
export function refuseFaults(wanted: string): boolean {
  try {
    if (hasFaultPoints) parseFaults(wanted);
    else
      throw new MosError(
        "fault-points-missing",
        "cannot start with MOS_FAULT set: this build has no fault points",
      );
    return false;
  } catch (thrown) {
    const error = asMosError(thrown);
    reportError(openTerminal(), error, false);
    process.exitCode = error.exitCode;
    return true;
  }
}
