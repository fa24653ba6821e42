// Bringing a destination to what a ledger says, with the lock held: what was interrupted is settled first, then the steps
// are planned, journalled and done, or taken back.
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { makeDirectory } from "../system/atomic-file.ts";
import { withLock } from "../system/lock.ts";
import { type Activation, afterChange, afterReturn, beforeChange, beforeReturn } from "./activation.ts";
import { clearStage, finishOrGoBack, type Trial } from "./apply.ts";
import { Destination, isReadOnly, lookAll } from "./destination.ts";
import { type Journal, type Ledger, readJournals, writeJournal } from "./ledger.ts";
import type { SetEntry } from "./set-manifest.ts";
import { unitChange } from "./set-units.ts";
import { planSteps, type Step } from "./steps.ts";

/** Where sets are installed, and what is known of them. */
export interface SetPlaces {
  /** Directory of ledgers and journals. */
  readonly state: string;
  /** What destinations are below; "/" but for images that are not running. */
  readonly root: string;
}

export interface InstalledSet {
  /** `unchanged`: nothing to do. */
  readonly outcome: "installed" | "unchanged" | "repaired" | "removed";
  readonly name: string;
  readonly serial: number;
  readonly destination: string;
  /** Paths that came or changed, and that went. */
  readonly written: readonly string[];
  readonly removed: readonly string[];
}

function destinationOf(
  { root }: SetPlaces,
  { destination, name }: { readonly destination: string; readonly name: string },
) {
  return new Destination(root, destination, name);
}

/** Goes on with what a power cut or a crash interrupted. @returns names of the sets that it was about */
export async function settle(places: SetPlaces, leaveReadOnly = false): Promise<readonly string[]> {
  const settled: string[] = [];
  for (const journal of await readJournals(places.state)) {
    if (leaveReadOnly && (await isReadOnly(join(places.root, journal.ledger.destination)))) continue;
    settled.push(journal.ledger.name);
    const destination = destinationOf(places, journal.ledger);
    try {
      await finishOrGoBack(places.state, destination, journal);
    } finally {
      await destination.close();
    }
  }
  return settled;
}

export async function locked<T>({ state }: SetPlaces, purpose: string, work: () => Promise<T>): Promise<T> {
  await makeDirectory(state, 0o700);
  return await withLock(join(state, ".lock"), purpose, work);
}

/** The paths of some kinds of steps. */
export function pathsOf(steps: readonly Step[], kinds: readonly Step["do"][]): readonly string[] {
  return steps.flatMap((step) => (kinds.includes(step.do) ? [step.path] : []));
}

export interface Change {
  readonly ledger: Ledger;
  /** What belonged to the set before. */
  readonly owned: readonly SetEntry[];
  readonly force: boolean;
  readonly activation: Activation | undefined;
  readonly prepare: (destination: Destination, steps: readonly Step[]) => Promise<void>;
}

/** The units of the set, in step with its files. */
function trialOf(
  activation: Activation,
  steps: readonly Step[],
  before: readonly SetEntry[],
  after: readonly SetEntry[],
): Trial {
  const change = unitChange(steps, before, after);
  return {
    begins: () => beforeChange(activation, change),
    passes: () => afterChange(activation, change),
    beforeReturn: () => beforeReturn(activation, change),
    afterReturn: () => afterReturn(activation, change),
  };
}

/** Brings the destination to what a ledger says. @returns the steps that it took */
export async function bring(
  places: SetPlaces,
  { ledger, owned, force, activation, prepare }: Change,
): Promise<readonly Step[]> {
  const destination = destinationOf(places, ledger);
  try {
    const live = await lookAll(destination, ledger.entries, owned);
    const { steps, conflicts } = planSteps(ledger.entries, owned, live, force);
    if (conflicts.length > 0) {
      throw new MosError(
        "set-conflict",
        `cannot install set ${ledger.name}: what is there does not belong to it`,
        {
          about: ledger.destination,
          problems: conflicts.slice(0, 20),
        },
      );
    }
    if (steps.length === 0) {
      await clearStage(destination);
      return [];
    }
    try {
      await prepare(destination, steps);
    } catch (error) {
      // What cannot be cleared now is cleared by the next installation.
      await clearStage(destination).catch(() => undefined);
      throw error;
    }
    const trial = activation === undefined ? undefined : trialOf(activation, steps, owned, ledger.entries);
    const isTrial = trial !== undefined;
    const journal: Journal = { version: 1, phase: "apply", trial: isTrial, steps: [...steps], ledger };
    await writeJournal(places.state, journal);
    const failure = await finishOrGoBack(places.state, destination, journal, trial);
    if (failure !== undefined) throw failure;
    return steps;
  } finally {
    await destination.close();
  }
}
