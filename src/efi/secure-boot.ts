// What the firmware says about Secure Boot (UEFI 2.10 section 32.3). What cannot be read is not verified: it is
// never taken for enabled, and never for harmless.
import { asMosError } from "../errors/mos-error.ts";
import { efivarsDirectory, readVariable, type VariableId, variables } from "./variable.ts";

export interface SecureBootState {
  /**
   * `enabled`: the firmware checks what it loads. `disabled`: it does not. `setup-mode`: anybody may write the
   * key databases. `unverified`: nothing is known.
   */
  readonly kind: "enabled" | "disabled" | "setup-mode" | "unverified";
  /** A sentence for a person. */
  readonly why: string;
}

/** One byte that is 0 or 1. */
async function readSwitch(directory: string, id: VariableId): Promise<boolean> {
  const data = await readVariable(directory, id);
  const [value] = data;
  if (data.length !== 1 || (value !== 0 && value !== 1)) {
    throw new SyntaxError(`the EFI variable ${id.name} is not one byte of 0 or 1`);
  }
  return value === 1;
}

/** Reads the state. Never throws: a failure is the answer `unverified`, with its reason. */
export async function readSecureBootState(directory: string = efivarsDirectory): Promise<SecureBootState> {
  try {
    const secureBoot = await readSwitch(directory, variables.secureBoot);
    const setupMode = await readSwitch(directory, variables.setupMode);
    if (setupMode && secureBoot) {
      return {
        kind: "unverified",
        why: "The firmware says both that Secure Boot is on and that it is in setup mode.",
      };
    }
    if (setupMode) {
      return {
        kind: "setup-mode",
        why: "The firmware is in setup mode: it has no platform key, and checks nothing.",
      };
    }
    return secureBoot
      ? { kind: "enabled", why: "The firmware checks the signature of everything that it loads." }
      : { kind: "disabled", why: "Secure Boot is switched off in the firmware." };
  } catch (error) {
    return { kind: "unverified", why: `Not verified: ${asMosError(error).message}.` };
  }
}
