// A transaction's second half (src/generation/transaction.ts): a generation that lies whole on the disk is brought up,
// watched, and made the current one or given up. Every step can be repeated: `resume` goes on where the power went.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { makeNamesDurable } from "../generation/durable-names.ts";
import { forgetFailure, rememberFailure } from "../generation/failures.ts";
import { readGeneration, removeGeneration } from "../generation/generations.ts";
import { readJournal, removeJournal, writeJournal } from "../generation/journal.ts";
import { damagedJournalPath } from "../generation/places.ts";
import {
  advance,
  type Reason,
  type Step,
  type Transaction,
  type TransactionEvent,
} from "../generation/transaction.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { digestOf } from "../oci/digest.ts";
import { moveFile } from "../system/atomic-file.ts";
import { fault } from "../system/fault.ts";
import { loadActive } from "./active.ts";
import type { Applied } from "./apply-units.ts";
import { bringDown, bringUp } from "./bring-up.ts";
import { moveCurrent } from "./commit.ts";
import type { AgentContext } from "./context.ts";
import { deviceFailures } from "./device-failures.ts";
import { watchHealth } from "./health.ts";
import { loadGeneration } from "./load.ts";
import { log } from "./log.ts";
import type { Progress } from "./progress.ts";
import { startedSide } from "./started.ts";
import { remember } from "./trust.ts";

async function enter(context: AgentContext, { next }: Step): Promise<Transaction> {
  if (next === undefined) throw new MosError("internal", "a transaction ended before its time");
  await writeJournal(context.places, next);
  return next;
}

/** Makes `to` the generation that runs at every later boot, and lets the trust memory learn of it. */
async function finishCommit(context: AgentContext, { to }: Transaction): Promise<void> {
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
async function recordFailure(
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
function reasonOf({ reason, to }: Transaction): Reason {
  return reason ?? { code: "generation-unhealthy", message: `generation ${to} failed` };
}

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

function unhealthy(error: unknown): Extract<TransactionEvent, { kind: "unhealthy" }> {
  const { code, message, problems } = asMosError(error);
  const text = [message, ...problems].join("; ");
  return { kind: "unhealthy", reason: { code, message: text } };
}

type Verdict = Extract<TransactionEvent, { kind: "healthy" | "unhealthy" }>;

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

/** Writes down that a transaction is under way, or leaves nothing behind. */
async function begin(context: AgentContext, transaction: Transaction): Promise<void> {
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

/** What begins with a start of the device. */
interface Waiting extends Pick<Transaction, "kind" | "from" | "to" | "system"> {
  /** How often it may be begun in all. */
  readonly tries: number;
  /** Puts its system where the loader takes it next. */
  readonly install: () => Promise<void>;
}

/**
 * Leaves a generation to the next start of the device, because it needs another system than the one that runs.
 * @throws MosError of `install`; then it is as if it had never begun
 */
export async function awaitReboot(
  context: AgentContext,
  { install, tries, ...beginning }: Waiting,
): Promise<void> {
  const startedAt = new Date().toISOString();
  const waiting: Transaction = { ...beginning, phase: "reboot", tries: tries - 1, excused: [], startedAt };
  // First: without the journal, a start of the new system would be nobody's trial.
  await begin(context, waiting);
  try {
    await install();
  } catch (error) {
    await removeJournal(context.places);
    if (waiting.kind === "update") await removeGeneration(context.places, waiting.to);
    throw error;
  }
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

/** How a start of the agent finds the device. */
export interface Resumed {
  /** Still to be watched, once it was brought up. */
  readonly trial: Transaction | undefined;
  /** Given up: once what ran before is up again, {@link endRevert}. */
  readonly reverting: Transaction | undefined;
  /** Of two systems: what is to be done about them once the device runs (system-boot.ts). */
  readonly pending?: Transaction | undefined;
}

/**
 * Goes on with the transaction that the journal holds, as far as that goes before anything runs. One more try is used
 * up before it begins, so that a generation that takes the device down does so a limited number of times.
 */
export async function resume(context: AgentContext): Promise<Resumed> {
  const { places } = context;
  let journal: Transaction | undefined;
  try {
    journal = await readJournal(places);
  } catch (error) {
    const { code, message, about } = asMosError(error);
    if (code !== "state-invalid" && code !== "state-newer") throw error;
    log.error({ code, about }, `${message}; what ran before goes on`);
    await moveFile(about ?? "", damagedJournalPath(places));
  }
  if (journal === undefined) return { trial: undefined, reverting: undefined };
  await fault("resume.journal");
  const started = await startedSide(context, journal);
  const step = advance(journal, { kind: "restart", started });
  // Nothing to write down.
  if (step.action === "wait") return { trial: undefined, reverting: undefined, pending: journal };
  const next = await enter(context, step);
  switch (step.action) {
    case "go back":
      await recordFailure(context, next, reasonOf(next));
      return { trial: undefined, reverting: undefined, pending: next };
    case "try":
      if (journal.phase === "reboot")
        log.info({ generation: next.to }, "the new system has started: its trial begins");
      else log.warn({ generation: next.to, tries: next.tries }, "a trial was interrupted; it begins anew");
      return { trial: next, reverting: undefined };
    case "commit":
      await finishCommit(context, next);
      return { trial: undefined, reverting: undefined };
    default:
      await recordFailure(context, next, reasonOf(next));
      log.error({ generation: next.to, ...reasonOf(next) }, "a generation is given up");
      return { trial: undefined, reverting: next };
  }
}

/** A trial whose generation cannot even be loaded or rendered is given up. */
export async function abandonTrial(
  context: AgentContext,
  trial: Transaction,
  error: unknown,
): Promise<Transaction> {
  const next = await enter(context, advance(trial, unhealthy(error)));
  await recordFailure(context, next, reasonOf(next));
  log.error({ generation: next.to, ...reasonOf(next) }, "a generation is given up");
  return next;
}

/** What ran before is up again: the transaction is over. */
export async function endRevert(context: AgentContext): Promise<void> {
  await removeJournal(context.places);
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
