// The TPM's owner: authorization values of hierarchies, clearing, and the protection against guessing.
import type { Command } from "./command.ts";
import { hierarchyEntity } from "./keys.ts";
import type { Authorization } from "./session.ts";
import type { Tpm } from "./tpm.ts";

/**
 * HierarchyChangeAuth. Needs a salted session, because it sends the new value.
 * @param authValue empty to remove it
 * @throws TpmError
 */
export async function changeHierarchyAuth(
  tpm: Tpm,
  hierarchy: "owner" | "endorsement" | "lockout" | "platform",
  authorization: Authorization,
  authValue: Uint8Array,
): Promise<void> {
  const command: Command = {
    name: "TPM2_HierarchyChangeAuth",
    handles: [hierarchyEntity(hierarchy)],
    authorizations: [authorization],
    parameters: (writer) => writer.sized(authValue),
    encryptIn: true,
    secret: true,
    authValueAfter: authValue,
  };
  await tpm.execute(command, () => undefined);
}

/**
 * Clear: everything of the owner is gone, and with a new seed everything that was sealed.
 * @param by whose authorization it is
 * @throws TpmError
 */
export async function clear(
  tpm: Tpm,
  by: "lockout" | "platform",
  authorization: Authorization,
): Promise<void> {
  const command: Command = {
    name: "TPM2_Clear",
    handles: [hierarchyEntity(by)],
    authorizations: [authorization],
    ...(by === "lockout" ? { authValueAfter: new Uint8Array(0) } : {}),
  };
  await tpm.execute(command, () => undefined);
}

/** Limits of guessing (Part 1, section 19.8.2). */
export interface LockoutLimits {
  /** So many wrong authorizations lock the TPM. */
  readonly maxFailures: number;
  /** After so many seconds one wrong authorization is forgotten; 0 turns the protection off. */
  readonly intervalSeconds: number;
  /** After a wrong lockout authorization, so many seconds until the next can be tried. */
  readonly recoverySeconds: number;
}

/** DictionaryAttackParameters. @throws TpmError */
export async function setLockoutLimits(
  tpm: Tpm,
  authorization: Authorization,
  { maxFailures, intervalSeconds, recoverySeconds }: LockoutLimits,
): Promise<void> {
  const command: Command = {
    name: "TPM2_DictionaryAttackParameters",
    handles: [hierarchyEntity("lockout")],
    authorizations: [authorization],
    parameters: (writer) => writer.u32(maxFailures).u32(intervalSeconds).u32(recoverySeconds),
  };
  await tpm.execute(command, () => undefined);
}

/** DictionaryAttackLockReset: forgets all wrong authorizations. @throws TpmError */
export async function resetLockout(tpm: Tpm, authorization: Authorization): Promise<void> {
  const command: Command = {
    name: "TPM2_DictionaryAttackLockReset",
    handles: [hierarchyEntity("lockout")],
    authorizations: [authorization],
  };
  await tpm.execute(command, () => undefined);
}
