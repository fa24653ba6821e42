// How a caller may use something in the TPM, again and again: an authorization is good for one command, and a policy
// has to be satisfied before each.
import { type AuthorizationOf, type Policy, satisfyPolicy } from "./policy.ts";
import { type Authorization, emptyAuthorization, type Session } from "./session.ts";
import type { Tpm } from "./tpm.ts";

export type Access =
  /**
   * The authorization value is empty. Nothing is encrypted and the answer proves nothing: not for secrets, and not where
   * somebody on the bus could gain from another answer. For those: `auth` with an empty value, in a salted session.
   */
  | { readonly kind: "empty" }
  /** By an authorization value, which is proved but not sent. */
  | { readonly kind: "auth"; readonly session: Session; readonly authValue: Uint8Array }
  /**
   * By a policy. An authorization value has to be given when the entity has one, also where the policy does not ask
   * for it: encryption depends on it.
   */
  | {
      readonly kind: "policy";
      readonly session: Session;
      readonly policy: Policy;
      readonly authValue?: Uint8Array;
      readonly authorizationOf?: AuthorizationOf;
    };

export const emptyAccess: Access = { kind: "empty" };

/**
 * Makes ready the authorization of one command.
 * @param last the session ends with the command
 * @throws as satisfyPolicy()
 */
export async function authorize(tpm: Tpm, access: Access, last = false): Promise<Authorization> {
  switch (access.kind) {
    case "empty":
      return emptyAuthorization;
    case "auth":
      return { kind: "session", session: access.session, authValue: access.authValue, last };
    case "policy": {
      await satisfyPolicy(tpm, access.session, access.policy, access.authorizationOf);
      const authValue = access.authValue ?? new Uint8Array(0);
      return { kind: "session", session: access.session, authValue, last };
    }
  }
}
