// A policy as a value: a list of steps. From the same value its digest is computed and a session is made to satisfy it,
// so that the two cannot disagree.
import { MosError } from "../errors/mos-error.ts";
import type { CommandName } from "./constants.ts";
import { digest, type HashName } from "./hashes.ts";
import type { VerifiedTicket } from "./keys.ts";
import { hierarchyEntity } from "./keys.ts";
import { type Entity, nameOfNv, nameOfPublic, nvEntity } from "./names.ts";
import type { NvPublic } from "./nv-public.ts";
import { digestOfPcrs, type PcrSelection, type PcrValues, selectPcrs } from "./pcr-selection.ts";
import * as send from "./policy-commands.ts";
import type { NvComparison, PolicyDigest } from "./policy-digest.ts";
import * as compute from "./policy-digest.ts";
import type { Public } from "./public.ts";
import { isTpmAnswer } from "./response-code.ts";
import { type Authorization, emptyAuthorization, type Session } from "./session.ts";
import { encodeSignature, type TpmSignature } from "./signature.ts";
import type { Tpm } from "./tpm.ts";

/** A policy that a key has signed, so that it may be used where PolicyAuthorize names the key. */
export interface Approval {
  /** The steps; what comes before them in the whole policy was signed with them. */
  readonly policy: Policy;
  /** Over approvalMessage(). */
  readonly signature: TpmSignature;
}

export type PolicyStep =
  /** PCRs have these values. */
  | { readonly kind: "pcr"; readonly selection: PcrSelection; readonly pcrDigest: Uint8Array }
  /** An NV index compares so. It is read by its own (empty) authorization value, or by the owner's. */
  | ({ readonly kind: "nv"; readonly nv: NvPublic; readonly reader?: "index" | "owner" } & NvComparison)
  /** Whatever the key approves. Without an approval the digest can be computed, but the step not satisfied. */
  | {
      readonly kind: "authorize";
      readonly key: Public;
      readonly reference?: Uint8Array;
      readonly approval?: Approval;
    }
  /** The user of the policy proves to know the authorization value of what it is used on. */
  | { readonly kind: "auth-value" }
  /** The user proves to know the authorization value of another entity. */
  | { readonly kind: "secret"; readonly entity: Entity; readonly reference?: Uint8Array }
  /** One of 2 to 8 policies; `take` says which one is to be satisfied. */
  | { readonly kind: "or"; readonly branches: readonly Policy[]; readonly take?: number }
  /** For this command only. */
  | { readonly kind: "command"; readonly command: CommandName }
  /** The NV index it is used on has, or has not, been written yet. */
  | { readonly kind: "nv-written"; readonly written: boolean };

export type Policy = readonly PolicyStep[];

/** How to prove what steps ask for about other entities; by default their authorization values are empty. */
export type AuthorizationOf = (entity: Entity) => Authorization;

const none = new Uint8Array(0);

/** The step that PCRs have these values. */
export function pcrStep(bank: HashName, values: PcrValues): PolicyStep {
  const selection = selectPcrs(bank, values.keys());
  return { kind: "pcr", selection, pcrDigest: digestOfPcrs("sha256", selection, values) };
}

function digestOfStep(before: PolicyDigest, step: PolicyStep): PolicyDigest {
  switch (step.kind) {
    case "pcr":
      return compute.policyPcr(before, step.selection, step.pcrDigest);
    case "nv":
      return compute.policyNv(before, nameOfNv(step.nv), step);
    case "authorize":
      return compute.policyAuthorize(nameOfPublic(step.key), step.reference ?? none);
    case "auth-value":
      return compute.policyAuthValue(before);
    case "secret":
      return compute.policySecret(before, step.entity.name, step.reference ?? none);
    case "or":
      return compute.policyOr(branchDigests(before, step.branches));
    case "command":
      return compute.policyCommandCode(before, step.command);
    case "nv-written":
      return compute.policyNvWritten(before, step.written);
  }
}

function branchDigests(before: PolicyDigest, branches: readonly Policy[]): PolicyDigest[] {
  return branches.map((branch) => branch.reduce(digestOfStep, before));
}

/** The digest of a policy: the authPolicy of what it protects, or what a key signs to approve it. */
export function digestOfPolicy(policy: Policy): PolicyDigest {
  return policy.reduce(digestOfStep, compute.emptyPolicy);
}

/**
 * Satisfies a policy in a session, which then authorizes one command.
 * @throws TpmError (`TPM_RC_VALUE`: PCRs differ; `TPM_RC_POLICY`: an NV index differs; `TPM_RC_SIGNATURE`: an approval
 *   is not the key's), MosError
 */
export async function satisfyPolicy(
  tpm: Tpm,
  session: Session,
  policy: Policy,
  authorizationOf: AuthorizationOf = () => emptyAuthorization,
): Promise<void> {
  // What an attempt before this one left behind.
  if (session.policyBegun) await send.sendPolicyRestart(tpm, session);
  await satisfySteps({ tpm, session, authorizationOf }, compute.emptyPolicy, policy);
}

interface Run {
  readonly tpm: Tpm;
  readonly session: Session;
  readonly authorizationOf: AuthorizationOf;
}

async function satisfySteps(run: Run, before: PolicyDigest, policy: Policy): Promise<PolicyDigest> {
  let reached = before;
  for (const step of policy) {
    await satisfyStep(run, reached, step);
    reached = digestOfStep(reached, step);
  }
  return reached;
}

async function satisfyStep(run: Run, before: PolicyDigest, step: PolicyStep): Promise<void> {
  const { tpm, session, authorizationOf } = run;
  switch (step.kind) {
    case "pcr":
      return await send.sendPolicyPcr(tpm, session, step.selection, step.pcrDigest);
    case "nv": {
      const entity = step.reader === "owner" ? hierarchyEntity("owner") : nvEntity(step.nv);
      const reader = { entity, authorization: authorizationOf(entity) };
      return await send.sendPolicyNv(tpm, session, step.nv, step, reader);
    }
    case "authorize":
      return await satisfyAuthorize(run, before, step);
    case "auth-value":
      return await send.sendPolicyAuthValue(tpm, session);
    case "secret": {
      const { entity, reference = none } = step;
      return await send.sendPolicySecret(tpm, session, entity, reference, authorizationOf(entity));
    }
    case "or": {
      const branch = step.branches[step.take ?? -1];
      if (branch === undefined) throw unsatisfiable("it does not say which branch of a PolicyOR to take");
      await satisfySteps(run, before, branch);
      return await send.sendPolicyOr(tpm, session, branchDigests(before, step.branches));
    }
    case "command":
      return await send.sendPolicyCommandCode(tpm, session, step.command);
    case "nv-written":
      return await send.sendPolicyNvWritten(tpm, session, step.written);
  }
}

async function satisfyAuthorize(
  run: Run,
  before: PolicyDigest,
  { key, reference = none, approval }: Extract<PolicyStep, { kind: "authorize" }>,
): Promise<void> {
  if (approval === undefined) throw unsatisfiable("nothing was approved");
  const { tpm, session } = run;
  const approved = await satisfySteps(run, before, approval.policy);
  const name = nameOfPublic(key);
  const use = async (ticket: VerifiedTicket): Promise<void> =>
    await send.sendPolicyAuthorize(tpm, session, approved, reference, name, ticket);
  const kept = tickets.get(tpm) ?? new Map<string, VerifiedTicket>();
  tickets.set(tpm, kept);
  const of = encodeSignature(approval.signature);
  const about = Buffer.from(digest("sha256", name, approved, of, reference)).toString("hex");
  const known = kept.get(about);
  if (known !== undefined) {
    try {
      return await use(known);
    } catch (error) {
      // The TPM was cleared meanwhile.
      if (!isTpmAnswer(error, "TPM_RC_VALUE", "TPM_RC_TICKET")) throw error;
    }
  }
  const ticket = await send.verifyApproval(tpm, key, approved, reference, approval.signature);
  kept.set(about, ticket);
  await use(ticket);
}

function unsatisfiable(why: string): MosError {
  return new MosError("internal", `cannot satisfy a TPM policy: ${why}`);
}

/** Tickets that a TPM gave for approvals: checking a signature anew for each secret would cost three commands. */
const tickets = new WeakMap<Tpm, Map<string, VerifiedTicket>>();
