// Which generation is to run on this device: the one that `current` names, or the one on trial. Where that one is
// damaged the device goes back to the best that verifies, and says so. Read from the disk each time.
import { isRootOf } from "../boot/command-line.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { readFailures } from "../generation/failures.ts";
import { listGenerations, pointedGeneration } from "../generation/generations.ts";
import { readJournal } from "../generation/journal.ts";
import { activeOf, type Transaction } from "../generation/transaction.ts";
import type { AgentContext } from "./context.ts";
import { type LoadedGeneration, loadGeneration } from "./load.ts";
import { startedSystem } from "./started.ts";

/** What runs, and why that. */
export interface Active {
  /** Undefined when nothing was ever applied. */
  readonly loaded: LoadedGeneration | undefined;
  /** A generation is being tried, or given up. */
  readonly transaction: Transaction | undefined;
  /** What was found damaged, and is done without. */
  readonly damage: readonly MosError[];
}

/** The value, or what is wrong with it. Only what mos itself has found out counts as known. */
async function known<T>(read: () => Promise<T>): Promise<T | MosError> {
  try {
    return await read();
  } catch (error) {
    const known = asMosError(error);
    if (known.code === "internal") throw error;
    return known;
  }
}

/** Generations to go back to, the best first. One that failed its trial is none. */
async function fallbacks({ places }: AgentContext, except: number | undefined): Promise<number[]> {
  const failed = await known(() => readFailures(places));
  const unfit = new Set(failed instanceof MosError ? [] : failed.map(({ generation }) => generation));
  const previous = await known(() => pointedGeneration(places, "previous"));
  const all = [
    ...(typeof previous === "number" ? [previous] : []),
    ...(await listGenerations(places)).toReversed(),
  ];
  return [...new Set(all)].filter((number) => number !== except && !unfit.has(number));
}

function otherSystem({ number }: LoadedGeneration, { number: instead }: LoadedGeneration): MosError {
  const about = `generation ${number}`;
  return new MosError(
    "boot-failed",
    `generation ${number} is of another system than the one that was started; generation ${instead} runs`,
    {
      about,
      hint: "Unless somebody chose it in the boot loader's menu, the other did not come up: mosctl update to its release reads all of it and fetches anew what is damaged.",
    },
  );
}

/**
 * The generation of the root that was started, where that is another one than the current generation's: somebody chose
 * it when the device started, or the loader did. Undefined where the current one is right, or nothing fits better.
 */
async function ofStartedSystem(
  context: AgentContext,
  { number, hostfs }: LoadedGeneration,
): Promise<LoadedGeneration | undefined> {
  if (hostfs === undefined) return undefined;
  const started = await startedSystem(context);
  if (started === undefined || isRootOf(started.root, hostfs)) return undefined;
  let second: LoadedGeneration | undefined;
  for (const candidate of await fallbacks(context, number)) {
    const other = await known(() => loadGeneration(context, candidate));
    if (other instanceof MosError) continue;
    if (isRootOf(started.root, other.hostfs)) return other;
    // One that brings no root goes with any.
    if (other.hostfs === undefined) second ??= other;
  }
  return second;
}

/**
 * Finds the generation that is to run, verified.
 * @throws MosError of the generation that should run, when no other verifies either
 */
export async function loadActive(context: AgentContext): Promise<Active> {
  const { places } = context;
  const damage: MosError[] = [];
  const journal = await known(() => readJournal(places));
  const transaction = journal instanceof MosError ? undefined : journal;
  if (journal instanceof MosError) damage.push(journal);
  const wanted =
    transaction === undefined
      ? await known(() => pointedGeneration(places, "current"))
      : activeOf(transaction);
  if (wanted === undefined) return { loaded: undefined, transaction, damage };
  const loaded = wanted instanceof MosError ? wanted : await known(() => loadGeneration(context, wanted));
  if (!(loaded instanceof MosError)) {
    const other = transaction === undefined ? await ofStartedSystem(context, loaded) : undefined;
    return other === undefined
      ? { loaded, transaction, damage }
      : { loaded: other, transaction, damage: [...damage, otherSystem(loaded, other)] };
  }
  // What is tried has to hold by itself; what came before it is tried next.
  if (transaction !== undefined && transaction.phase !== "revert") throw loaded;
  for (const number of await fallbacks(context, wanted instanceof MosError ? undefined : wanted)) {
    const other = await known(() => loadGeneration(context, number));
    if (!(other instanceof MosError)) return { loaded: other, transaction, damage: [...damage, loaded] };
  }
  throw loaded;
}

/** What runs now, or undefined when nothing does or it can no longer be verified: an update mends that. */
export async function loadRunning(context: AgentContext): Promise<LoadedGeneration | undefined> {
  const active = await known(() => loadActive(context));
  return active instanceof MosError ? undefined : active.loaded;
}
