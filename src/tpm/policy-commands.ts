// The policy commands, one function each (Part 3, section 23). policy.ts puts them together.
import type { Writer } from "./buffer.ts";
import { type CommandName, commands, operations, structureTags } from "./constants.ts";
import { digest } from "./hashes.ts";
import { loadExternal, readVerifiedTicket, type VerifiedTicket } from "./keys.ts";
import { type Entity, type Name, nvEntity, permanentEntity } from "./names.ts";
import type { NvPublic } from "./nv-public.ts";
import { type PcrSelection, writePcrSelections } from "./pcr-selection.ts";
import { approvalMessage, type NvComparison, type PolicyDigest, policyDigestOf } from "./policy-digest.ts";
import type { Public } from "./public.ts";
import type { Authorization, Session } from "./session.ts";
import { type TpmSignature, writeSignature } from "./signature.ts";
import type { Tpm } from "./tpm.ts";

/** A policy command that only names the session. */
async function inSession(
  tpm: Tpm,
  session: Session,
  name: CommandName,
  parameters: (writer: Writer) => void = () => undefined,
): Promise<void> {
  session.notePolicy();
  await tpm.execute({ name, handles: [permanentEntity(session.handle)], parameters }, () => undefined);
}

/** PolicyRestart: the session is as new. @throws TpmError */
export async function sendPolicyRestart(tpm: Tpm, session: Session): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyRestart");
  session.noteRestart();
}

/** PolicyPCR. @throws TpmError (`TPM_RC_VALUE`: the PCRs have other values) */
export async function sendPolicyPcr(
  tpm: Tpm,
  session: Session,
  selection: PcrSelection,
  pcrDigest: Uint8Array,
): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyPCR", (writer) => {
    writePcrSelections(writer.sized(pcrDigest), [selection]);
  });
}

/** PolicyNV. @throws TpmError (`TPM_RC_POLICY`: the comparison is false) */
export async function sendPolicyNv(
  tpm: Tpm,
  session: Session,
  nv: NvPublic,
  { operand, offset, operation }: NvComparison,
  reader: { readonly entity: Entity; readonly authorization: Authorization },
): Promise<void> {
  session.notePolicy();
  const command = {
    name: "TPM2_PolicyNV",
    handles: [reader.entity, nvEntity(nv), permanentEntity(session.handle)],
    authorizations: [reader.authorization],
    parameters: (writer: Writer) => writer.sized(operand).u16(offset).u16(operations[operation]),
    encryptIn: true,
  } as const;
  await tpm.execute(command, () => undefined);
}

/** PolicyAuthValue. @throws TpmError */
export async function sendPolicyAuthValue(tpm: Tpm, session: Session): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyAuthValue");
  session.noteAuthValuePolicy();
}

/** PolicyOR. @throws TpmError (`TPM_RC_VALUE`: the session's digest is none of these) */
export async function sendPolicyOr(
  tpm: Tpm,
  session: Session,
  branches: readonly PolicyDigest[],
): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyOR", (writer) => {
    writer.u32(branches.length);
    for (const branch of branches) writer.sized(branch);
  });
}

/** PolicySecret. @throws TpmError (`TPM_RC_AUTH_FAIL`, `TPM_RC_BAD_AUTH`) */
export async function sendPolicySecret(
  tpm: Tpm,
  session: Session,
  entity: Entity,
  reference: Uint8Array,
  authorization: Authorization,
): Promise<void> {
  session.notePolicy();
  const none = new Uint8Array(0);
  const command = {
    name: "TPM2_PolicySecret",
    handles: [entity, permanentEntity(session.handle)],
    authorizations: [authorization],
    // No nonce, no hash of a command, no expiration: the authorization is for this session as long as it lives.
    parameters: (writer: Writer) => writer.sized(none).sized(none).sized(reference).u32(0),
    encryptIn: true,
  } as const;
  await tpm.execute(command, (reader) => {
    // A timeout and a TPMT_TK_AUTH (Part 2, section 10.6.6) of which nothing is kept: there is no expiration.
    reader.sized(8);
    if (reader.u16() !== structureTags.authSecret) throw new SyntaxError("not a ticket of an authorization");
    reader.u32();
    reader.sized(64);
  });
}

/** PolicyCommandCode. @throws TpmError */
export async function sendPolicyCommandCode(tpm: Tpm, session: Session, command: CommandName): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyCommandCode", (writer) => writer.u32(commands[command]));
}

/** PolicyNvWritten. @throws TpmError */
export async function sendPolicyNvWritten(tpm: Tpm, session: Session, written: boolean): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyNvWritten", (writer) => writer.u8(written ? 1 : 0));
}

/** PolicyAuthorize. @throws TpmError (`TPM_RC_VALUE`: the session's digest is not the approved one) */
export async function sendPolicyAuthorize(
  tpm: Tpm,
  session: Session,
  approved: PolicyDigest,
  reference: Uint8Array,
  key: Name,
  ticket: VerifiedTicket,
): Promise<void> {
  await inSession(tpm, session, "TPM2_PolicyAuthorize", (writer) =>
    writer.sized(approved).sized(reference).sized(key).raw(ticket),
  );
}

/**
 * Has the TPM check the approval of a policy. The ticket can be used again until the TPM is cleared.
 * @throws TpmError (`TPM_RC_SIGNATURE`: the signature is not the key's)
 */
export async function verifyApproval(
  tpm: Tpm,
  key: Public,
  approved: PolicyDigest,
  reference: Uint8Array,
  signature: TpmSignature,
): Promise<VerifiedTicket> {
  // In the owner hierarchy: tickets of the null hierarchy prove nothing to PolicyAuthorize.
  await using loaded = await loadExternal(tpm, key, "owner");
  const command = {
    name: "TPM2_VerifySignature",
    handles: [loaded],
    parameters: (writer: Writer) =>
      writeSignature(writer.sized(digest("sha256", approvalMessage(approved, reference))), signature),
  } as const;
  return await tpm.execute(command, readVerifiedTicket);
}

/** PolicyGetDigest: what the session's policy has come to. @throws TpmError */
export async function readPolicyDigest(tpm: Tpm, session: Session): Promise<PolicyDigest> {
  const command = { name: "TPM2_PolicyGetDigest", handles: [permanentEntity(session.handle)] } as const;
  return await tpm.execute(command, (reader) => policyDigestOf(reader.sized().slice()));
}
