// What a start of the agent finds in the journal, and goes on with: after a power cut, a crash, or a start of the device
// that a transaction has waited for.
import { asMosError } from "../errors/mos-error.ts";
import { readJournal, removeJournal } from "../generation/journal.ts";
import { damagedJournalPath } from "../generation/places.ts";
import { advance, type Transaction } from "../generation/transaction.ts";
import { moveFile } from "../system/atomic-file.ts";
import { fault } from "../system/fault.ts";
import type { AgentContext } from "./context.ts";
import { log } from "./log.ts";
import { startedSide } from "./started.ts";
import { enter, finishCommit, reasonOf, recordFailure, unhealthy } from "./transaction-steps.ts";

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
): Promise<Resumed> {
  const step = advance(trial, unhealthy(error));
  const next = await enter(context, step);
  await recordFailure(context, next, reasonOf(next));
  log.error({ generation: next.to, ...reasonOf(next) }, "a generation is given up");
  // The other system is started once this one is up: until then the journal is what knows of it.
  return step.action === "go back"
    ? { trial: undefined, reverting: undefined, pending: next }
    : { trial: undefined, reverting: next };
}

/** What ran before is up again: the transaction is over. */
export async function endRevert(context: AgentContext): Promise<void> {
  await removeJournal(context.places);
}
