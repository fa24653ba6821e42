// A transaction's second half (src/generation/transaction.ts): a generation that lies whole on the disk is brought up,
// watched, and made the current one or given up. Every step can be repeated: resume.ts goes on where the power went.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { makeNamesDurable } from "../generation/durable-names.ts";
import { removeGeneration } from "../generation/generations.ts";
import { readJournal, removeJournal } from "../generation/journal.ts";
import { advance, type Transaction } from "../generation/transaction.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { fault } from "../system/fault.ts";
import { loadActive } from "./active.ts";
import type { Applied } from "./apply-units.ts";
import { bringDown, bringUp } from "./bring-up.ts";
import type { AgentContext } from "./context.ts";
import { watchHealth } from "./health.ts";
import { loadGeneration } from "./load.ts";
import type { Progress } from "./progress.ts";
import { startedSide } from "./started.ts";
import {
  begin,
  enter,
  finishCommit,
  reasonOf,
  recordFailure,
  unhealthy,
  type Verdict,
} from "./transaction-steps.ts";

/** Brings `from` up again. */
async function goBack(context: AgentContext, transaction: Transaction, progress: Progress): Promise<void> {
  progress({ kind: "step", step: "go back" });
  await fault("revert.record");
  await recordFailure(context, transaction, reasonOf(transaction));
  await fault("revert.activate");
  const { loaded } = await loadActive(context);
  if (loaded === undefined) await bringDown(context);
  else await bringUp(context, loaded, "wait");
  await fault("revert.end");
  await removeJournal(context.places);
}

/**
 * As if the trial had never begun: what can be done on a disk that takes no more writes. The generation is not to blame.
 */
async function undo(context: AgentContext, { kind, from, to }: Transaction): Promise<void> {
  if (from === null) await bringDown(context);
  else await bringUp(context, await loadGeneration(context, from), "wait");
  await removeJournal(context.places);
  if (kind === "update") await removeGeneration(context.places, to);
}

/** A new system that is healthy counts as good before anything else does: a power cut after it finds it running again. */
async function blessed(context: AgentContext, { system }: Transaction, verdict: Verdict): Promise<Verdict> {
  if (system === undefined || verdict.kind !== "healthy") return verdict;
  try {
    const { blessSystem } = await import("./system-change.ts");
    await blessSystem(context);
    return verdict;
  } catch (error) {
    return unhealthy(error);
  }
}

/** From the verdict to the end. @throws MosError `generation-unhealthy` when the device went back */
async function conclude(
  context: AgentContext,
  trial: Transaction,
  verdict: Verdict,
  progress: Progress,
): Promise<void> {
  const step = advance(trial, await blessed(context, trial, verdict));
  if (step.action === "commit") progress({ kind: "step", step: "commit" });
  let next: Transaction;
  try {
    await fault("trial.verdict");
    next = await enter(context, step);
  } catch (error) {
    await undo(context, trial);
    throw error;
  }
  if (step.action === "commit") {
    await finishCommit(context, next);
    const { collectAfterCommit } = await import("./gc.ts");
    await collectAfterCommit(context);
    if (next.system !== undefined) {
      const { cleanUpSystems } = await import("./system-change.ts");
      await cleanUpSystems(context);
    }
    return;
  }
  if (step.action === "go back" && next.system !== undefined) {
    await recordFailure(context, next, reasonOf(next));
    const { startBefore } = await import("./system-change.ts");
    await startBefore(context, next.system);
    const why = reasonOf(next).message;
    throw new MosError(
      "generation-unhealthy",
      `generation ${next.to} did not become healthy, and the device starts the system of before: ${why}`,
      { about: `generation ${next.to}` },
    );
  }
  const { code, message } = reasonOf(next);
  const to = next.from === null ? "nothing runs, as before" : `generation ${next.from} runs again`;
  const failure = new MosError(
    "generation-unhealthy",
    `generation ${next.to} did not become healthy, and ${to}: ${message}`,
    {
      about: `generation ${next.to}`,
      ...(code === "generation-unhealthy" ? {} : { problems: [`${code}: ${message}`] }),
    },
  );
  try {
    await goBack(context, next, progress);
  } catch (error) {
    // The journal says that this is not over: the next start of the agent goes on with it.
    const known = asMosError(error);
    throw new MosError(
      "generation-unhealthy",
      `generation ${next.to} did not become healthy (${message}), and going back failed: ${known.message}`,
      { about: `generation ${next.to}`, cause: error, problems: known.problems },
    );
  }
  throw failure;
}

/** What a trial begins with. */
export interface Beginning extends Pick<Transaction, "kind" | "from" | "to" | "excused"> {
  readonly manifest: InstallManifest;
  /** How often it may be begun in all. */
  readonly tries: number;
  /** Brings it up. */
  readonly activate: () => Promise<Applied>;
}

/**
 * Tries a generation and keeps it when it is healthy.
 * @throws MosError `generation-unhealthy` when it is not, and what ran before runs again
 */
export async function runTrial(
  context: AgentContext,
  { activate, manifest, tries, ...beginning }: Beginning,
  progress: Progress,
): Promise<Applied> {
  const startedAt = new Date().toISOString();
  const trial: Transaction = { ...beginning, phase: "trial", tries: tries - 1, startedAt };
  await begin(context, trial);
  let applied: Applied | undefined;
  let verdict: Verdict;
  try {
    progress({ kind: "step", step: "activate" });
    await fault("trial.activate");
    applied = await activate();
    progress({ kind: "step", step: "health" });
    await fault("trial.health");
    verdict = await watchHealth(context, manifest, trial.excused, progress);
  } catch (error) {
    verdict = unhealthy(error);
  }
  await conclude(context, trial, verdict, progress);
  if (applied === undefined) throw new MosError("internal", "a generation was kept that was not brought up");
  return applied;
}

/**
 * Watches a generation that a boot has brought up, to the end of its transaction.
 * @throws MosError `generation-unhealthy` when the device went back
 */
export async function watchTrial(context: AgentContext, trial: Transaction): Promise<void> {
  const progress: Progress = () => undefined;
  let verdict: Verdict;
  try {
    const { manifest } = await loadGeneration(context, trial.to);
    verdict = await watchHealth(context, manifest, trial.excused, progress);
  } catch (error) {
    verdict = unhealthy(error);
  }
  await conclude(context, trial, verdict, progress);
}

/**
 * Ends a transaction that another process began and did not end, before a new one begins: what was healthy is kept,
 * what was still being tried is given up without blame.
 */
export async function settle(context: AgentContext, progress: Progress): Promise<void> {
  await makeNamesDurable(context.places);
  const journal = await readJournal(context.places).catch((error: unknown) => {
    if (error instanceof MosError) return undefined;
    throw error;
  });
  // What waits for a start of the device goes on waiting, until something else takes its place.
  if (journal === undefined || journal.phase === "reboot") return;
  if (
    journal.system !== undefined &&
    (await startedSide(context, journal)) === "to" &&
    journal.phase !== "commit"
  ) {
    throw new MosError(
      "reboot-needed",
      `cannot do this now: a new kernel and root (generation ${journal.to}) are on trial`,
      {
        about: `generation ${journal.to}`,
      },
    );
  }
  if (journal.phase === "commit") return await finishCommit(context, journal);
  if (journal.phase === "revert") return await goBack(context, journal, progress);
  const { places } = context;
  // As if it had never begun. What is live is compared with what comes, so nothing has to be taken down first.
  await removeJournal(places);
}
