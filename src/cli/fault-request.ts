// MOS_FAULT at the start of a program: what a test asks for has to happen or to be refused, never nothing.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { reportError } from "./error-report.ts";
import { openTerminal } from "./terminal.ts";

/** Put in by the build; absent when the sources run as they are (src/system/fault.ts). */
declare const MOS_FAULTS: boolean | undefined;

async function check(wanted: string): Promise<void> {
  if (typeof MOS_FAULTS !== "boolean" || MOS_FAULTS) {
    const { parseFaults } = await import("../system/fault-injection.ts");
    parseFaults(wanted);
  } else {
    const about = { about: "MOS_FAULT" };
    throw new MosError(
      "fault-points-missing",
      "cannot start with MOS_FAULT set: this build has no fault points",
      about,
    );
  }
}

/** Checks MOS_FAULT. @returns whether it was refused; the program then ends, and says why */
export async function refuseFaults(wanted: string): Promise<boolean> {
  try {
    await check(wanted);
    return false;
  } catch (thrown) {
    const error = asMosError(thrown);
    reportError(openTerminal(), error, false);
    process.exitCode = error.exitCode;
    return true;
  }
}
