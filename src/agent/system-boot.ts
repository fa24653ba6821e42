// What a start of the device leaves to do about the systems that it can start, once it runs: the EFI system partition
// is not there before. Never part of what the boot waits for, and once in a boot.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { readJournal, removeJournal, writeJournal } from "../generation/journal.ts";
import { advance, type Transaction } from "../generation/transaction.ts";
import type { AgentContext } from "./context.ts";
import { log } from "./log.ts";
import { areSystemsSettled, rememberSettledSystems } from "./stage-record.ts";
import { startedSide, startedSystem } from "./started.ts";
import {
  blessSystem,
  cleanUpSystems,
  endWatch,
  fateOfSystem,
  installAgain,
  startBefore,
  withdrawSystem,
} from "./system-change.ts";
import { recordFailure } from "./transaction-steps.ts";

const failed = (to: number) =>
  ({
    code: "boot-failed",
    message: `the kernel and root of generation ${to} did not come up as often as they were tried, and the device has started the ones before`,
  }) as const;

/** The loader has tried the new system as often as it may, and started the one before. */
async function giveUp(context: AgentContext, journal: Transaction): Promise<void> {
  const { places } = context;
  const reason = failed(journal.to);
  const { next } = advance(journal, { kind: "unhealthy", reason });
  if (next === undefined || next.system === undefined) return;
  await writeJournal(places, next);
  await recordFailure(context, journal, reason);
  log.error({ generation: journal.to, code: reason.code }, reason.message);
  await withdrawSystem(context, next, next.system);
  await removeJournal(places);
}

async function settle(context: AgentContext): Promise<void> {
  const journal = await readJournal(context.places);
  if (journal === undefined) {
    // Also a first image, of which no release knows: it runs, so it is good.
    await blessSystem(context);
    // What a failing disk has kept from being removed when a system was given up.
    return await cleanUpSystems(context);
  }
  const { system, phase } = journal;
  if (system === undefined) return await endWatch(context);
  const started = await startedSide(context, journal);
  if (phase === "revert" && started === "to") return await startBefore(context, system);
  if (phase !== "reboot" || started !== "from") return;
  await endWatch(context);
  switch (await fateOfSystem(context, system)) {
    case "missing":
      return await installAgain(context, journal.to);
    case "failed":
      return await giveUp(context, journal);
    case "waiting":
      log.info({ generation: journal.to }, "a new system waits for the device to be started anew");
  }
}

/** Whether something may be left to do about systems. Asked before the lock is taken: others want that too. */
export async function areSystemsUnsettled(context: AgentContext): Promise<boolean> {
  return !areSystemsSettled(context.places) && (await startedSystem(context)) !== undefined;
}

/**
 * Does what is left to do about systems. Under the lock of transactions. It never fails: what could not be done is
 * logged, and done at the next start.
 */
export async function settleSystems(context: AgentContext): Promise<void> {
  const { places } = context;
  if (!(await areSystemsUnsettled(context))) return;
  try {
    await settle(context);
    rememberSettledSystems(places);
  } catch (error) {
    const { code, message, about } = asMosError(error);
    // Not every machine of a verified root has a loader that counts.
    if (error instanceof MosError && code === "esp-missing") log.info({ code, about }, message);
    else log.error({ code, about }, `cannot settle which system starts next: ${message}`);
  }
}

/** A system that waits for its start is not started: something else takes its place, or nothing does. */
export async function withdrawWaiting(context: AgentContext): Promise<void> {
  const journal = await readJournal(context.places);
  if (journal?.phase !== "reboot" || journal.system === undefined) return;
  await withdrawSystem(context, journal, journal.system);
  await removeJournal(context.places);
}
