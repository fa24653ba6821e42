// The steps of a transaction that several of its parts take (trial.ts, resume.ts): written to the journal, done, and
// remembered. Each can be repeated.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { forgetFailure, rememberFailure } from "../generation/failures.ts";
import { readGeneration, removeGeneration } from "../generation/generations.ts";
import { removeJournal, writeJournal } from "../generation/journal.ts";
import type { Reason, Step, Transaction, TransactionEvent } from "../generation/transaction.ts";
import { digestOf } from "../oci/digest.ts";
import { fault } from "../system/fault.ts";
import { moveCurrent } from "./commit.ts";
import type { AgentContext } from "./context.ts";
import { deviceFailures } from "./device-failures.ts";
import { loadGeneration } from "./load.ts";
import { remember } from "./trust.ts";

/** How a trial ended. */
export type Verdict = Extract<TransactionEvent, { kind: "healthy" | "unhealthy" }>;

/** A state is entered before anything is done for it. */
export async function enter(context: AgentContext, { next }: Step): Promise<Transaction> {
  if (next === undefined) throw new MosError("internal", "a transaction ended before its time");
  await writeJournal(context.places, next);
  return next;
}

/** Makes `to` the generation that runs at every later boot, and lets the trust memory learn of it. */
export async function finishCommit(context: AgentContext, { to }: Transaction): Promise<void> {
  const { places } = context;
  const { trust, current, manifest, digest } = await loadGeneration(context, to);
  await moveCurrent(places, to);
  await fault("commit.remember");
  await remember(context, trust, current.records, manifest.release?.epoch ?? 0);
  await fault("commit.forget");
  await forgetFailure(places, digest);
  await fault("commit.end");
  await removeJournal(places);
}

/** So that it is not tried again by itself. A rollback's target was healthy once: it may be asked for again. */
export async function recordFailure(
  context: AgentContext,
  { kind, to }: Transaction,
  reason: Reason,
): Promise<void> {
  if (kind === "rollback" || deviceFailures.has(reason.code)) return;
  let manifest: Uint8Array;
  try {
    manifest = (await readGeneration(context.places, to)).manifest;
  } catch (error) {
    // Of what is not there any more nothing has to be remembered.
    if (error instanceof MosError) return;
    throw error;
  }
  const at = new Date().toISOString();
  await rememberFailure(context.places, { digest: digestOf(manifest), generation: to, at, ...reason });
}

/** The reason that a transaction in `revert` has. */
export function reasonOf({ reason, to }: Transaction): Reason {
  return reason ?? { code: "generation-unhealthy", message: `generation ${to} failed` };
}

/** An error as the verdict that it is. */
export function unhealthy(error: unknown): Extract<TransactionEvent, { kind: "unhealthy" }> {
  const { code, message, problems } = asMosError(error);
  const text = [message, ...problems].join("; ");
  return { kind: "unhealthy", reason: { code, message: text } };
}

/** Writes down that a transaction is under way, or leaves nothing behind. */
export async function begin(context: AgentContext, transaction: Transaction): Promise<void> {
  try {
    await fault("trial.journal");
    await writeJournal(context.places, transaction);
  } catch (error) {
    // It may have got its name all the same; a generation that it names must not go before it.
    await removeJournal(context.places);
    if (transaction.kind === "update") await removeGeneration(context.places, transaction.to);
    throw error;
  }
}
