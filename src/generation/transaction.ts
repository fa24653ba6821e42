// The life of a transaction, as one table: what each thing that can happen makes of each state. Pure; the journal keeps
// the state, the agent does what it asks for. Every action can be repeated, because the power may go in the middle.

/** A generation that is being tried, made the current one, or given up. */
export interface Transaction {
  readonly kind: "update" | "rollback";
  /** Which generation runs until this is over; null when nothing was ever applied. */
  readonly from: number | null;
  readonly to: number;
  /**
   * `trial`: `to` is brought up and watched; `commit`: it was healthy and becomes `current`; `revert`: it was not, and
   * `from` runs again.
   */
  readonly phase: "trial" | "commit" | "revert";
  /** How often the trial may still be begun anew after an interruption. */
  readonly tries: number;
  /** Why it is given up. */
  readonly reason?: Reason | undefined;
  /** Services that do not count: they were unwell before and are not touched. */
  readonly excused: readonly string[];
  /** RFC 3339. */
  readonly startedAt: string;
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
  /** The agent starts and finds the transaction in the journal: power cut, crash, reboot. */
  | { readonly kind: "restart" }
  /** What the state asks for has been done. */
  | { readonly kind: "done" };

/** What the agent has to do in a state, once the journal holds it. */
type TransactionAction =
  /** Bring `to` up and watch it. */
  | "try"
  /** Point `current` to `to`, and let the trust memory learn of it. */
  | "commit"
  /** Remember the failure, and bring `from` up. */
  | "revert"
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

function revert(transaction: Transaction, reason: Reason): Step {
  return { next: { ...transaction, phase: "revert", reason }, action: "revert" };
}

/** The table. What cannot happen in a state leaves it as it is. */
export function advance(transaction: Transaction, event: TransactionEvent): Step {
  switch (transaction.phase) {
    case "trial":
      switch (event.kind) {
        case "healthy":
          return { next: { ...transaction, phase: "commit" }, action: "commit" };
        case "unhealthy":
          return revert(transaction, event.reason);
        case "restart":
          return transaction.tries > 0
            ? { next: { ...transaction, tries: transaction.tries - 1 }, action: "try" }
            : revert(transaction, transaction.reason ?? outOfTries(transaction));
        case "done":
          return { next: transaction, action: "try" };
      }
      break;
    case "commit":
      return event.kind === "done"
        ? { next: undefined, action: "end" }
        : { next: transaction, action: "commit" };
    case "revert":
      return event.kind === "done"
        ? { next: undefined, action: "end" }
        : { next: transaction, action: "revert" };
  }
}

/** Which generation is to run in this state. */
export function activeOf({ phase, from, to }: Transaction): number | undefined {
  return phase === "revert" ? (from ?? undefined) : to;
}
