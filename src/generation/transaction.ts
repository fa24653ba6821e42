// The life of a transaction, as one table: what each thing that can happen makes of each state. Pure; the journal keeps
// the state, the agent does what it asks for. Every action can be repeated, because the power may go in the middle.

/** A generation that is being tried, made the current one, or given up. */
export interface Transaction {
  readonly kind: "update" | "rollback";
  /** Which generation runs until this is over; null when nothing was ever applied. */
  readonly from: number | null;
  readonly to: number;
  /**
   * `reboot`: `to` needs another system than the one that runs, and waits for its start; `trial`: `to` is brought up and
   * watched; `commit`: it was healthy and becomes `current`; `revert`: it was not, and `from` runs again.
   */
  readonly phase: "reboot" | "trial" | "commit" | "revert";
  /** How often the trial may still be begun anew after an interruption. */
  readonly tries: number;
  /** Why it is given up. */
  readonly reason?: Reason | undefined;
  /** Services that do not count: they were unwell before and are not touched. */
  readonly excused: readonly string[];
  /** RFC 3339. */
  readonly startedAt: string;
  /** The systems (kernel and root) of both, where they are not the same. */
  readonly system?: SystemChange | undefined;
}

/** Signed command lines, by which a system is known. */
export interface SystemChange {
  readonly from: string;
  readonly to: string;
}

export interface Reason {
  readonly code: string;
  readonly message: string;
}

/** What can happen to a transaction. */
export type TransactionEvent =
  /** The health gate let it pass. */
  | { readonly kind: "healthy" }
  /** It did not, or something of it failed. */
  | { readonly kind: "unhealthy"; readonly reason: Reason }
  /**
   * The agent starts and finds the transaction in the journal: power cut, crash, reboot. Where the systems differ,
   * `started` is the one that runs.
   */
  | { readonly kind: "restart"; readonly started?: keyof SystemChange | undefined }
  /** What the state asks for has been done. */
  | { readonly kind: "done" };

/** What the agent has to do in a state, once the journal holds it. */
type TransactionAction =
  /** Bring `to` up and watch it. */
  | "try"
  /** Point `current` to `to`, and let the trust memory learn of it. */
  | "commit"
  /** Nothing yet: `from` runs on, until somebody starts the device anew. */
  | "wait"
  /** Remember the failure, and bring `from` up. */
  | "revert"
  /** Remember the failure, and start the system of `from`. */
  | "go back"
  /** Nothing: the transaction is over. */
  | "end";

export interface Step {
  /** What the journal holds from now on; undefined removes it. */
  readonly next: Transaction | undefined;
  readonly action: TransactionAction;
}

/** When a trial was begun as often as it may be. */
function outOfTries({ to }: Transaction): Reason {
  return {
    code: "generation-tries-exhausted",
    message: `generation ${to} was interrupted at every try before it was healthy`,
  };
}

/** How often a device that runs the wrong system starts anew before it makes do with that one. */
const triesBack = 4;

/** @param started the system that runs; undefined where both are the same */
function revert(transaction: Transaction, reason: Reason, started?: keyof SystemChange): Step {
  if (started !== "to") return { next: { ...transaction, phase: "revert", reason }, action: "revert" };
  return { next: { ...transaction, phase: "revert", reason, tries: triesBack }, action: "go back" };
}

/** The loader has given the new system up, or somebody has chosen the old one. */
function notStarted({ to }: Transaction): Reason {
  return {
    code: "boot-failed",
    message: `the system of generation ${to} did not come up as often as it was tried, and the one before was started`,
  };
}

/** The table. What cannot happen in a state leaves it as it is. */
export function advance(transaction: Transaction, event: TransactionEvent): Step {
  const { phase, tries, system } = transaction;
  const started = event.kind === "restart" ? event.started : undefined;
  switch (phase) {
    case "reboot":
      if (started === "to") return { next: { ...transaction, phase: "trial" }, action: "try" };
      // That another system runs says nothing by itself: the power may have gone before the new one could be started.
      return event.kind === "unhealthy"
        ? revert(transaction, event.reason)
        : { next: transaction, action: "wait" };
    case "trial":
      switch (event.kind) {
        case "healthy":
          return { next: { ...transaction, phase: "commit" }, action: "commit" };
        case "unhealthy":
          return revert(transaction, event.reason, system === undefined ? undefined : "to");
        case "restart":
          if (started === "from") return revert(transaction, notStarted(transaction));
          return tries > 0
            ? { next: { ...transaction, tries: tries - 1 }, action: "try" }
            : revert(transaction, transaction.reason ?? outOfTries(transaction), started);
        case "done":
          return { next: transaction, action: "try" };
      }
      break;
    case "commit":
      return event.kind === "done"
        ? { next: undefined, action: "end" }
        : { next: transaction, action: "commit" };
    case "revert":
      if (event.kind === "done") return { next: undefined, action: "end" };
      return started === "to" && tries > 0
        ? { next: { ...transaction, tries: tries - 1 }, action: "go back" }
        : { next: transaction, action: "revert" };
  }
}

/** Which generation is to run in this state. */
export function activeOf({ phase, from, to }: Transaction): number | undefined {
  return phase === "revert" || phase === "reboot" ? (from ?? undefined) : to;
}
