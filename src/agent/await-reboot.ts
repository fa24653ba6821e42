// A transaction that waits for a start of the device, because its generation needs another kernel and root.
import { removeGeneration } from "../generation/generations.ts";
import { removeJournal } from "../generation/journal.ts";
import type { Transaction } from "../generation/transaction.ts";
import type { AgentContext } from "./context.ts";
import { begin } from "./transaction-steps.ts";

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
