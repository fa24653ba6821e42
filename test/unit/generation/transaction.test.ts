// The table of a transaction's states: every state with everything that can happen in it.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  activeOf,
  advance,
  type Transaction,
  type TransactionEvent,
} from "../../../src/generation/transaction.ts";

const base: Transaction = {
  ...{ kind: "update", from: 4, to: 5, phase: "trial", tries: 1, excused: [] },
  startedAt: "2026-01-01T00:00:00.000Z",
};
const reason = { code: "generation-unhealthy", message: "web: it has failed" };

const events: Readonly<Record<string, TransactionEvent>> = {
  healthy: { kind: "healthy" },
  unhealthy: { kind: "unhealthy", reason },
  restart: { kind: "restart" },
  done: { kind: "done" },
};

const table: readonly (readonly [
  state: Partial<Transaction>,
  event: string,
  next: string,
  action: string,
])[] = [
  [{ phase: "trial", tries: 1 }, "healthy", "commit 1", "commit"],
  [{ phase: "trial", tries: 1 }, "unhealthy", "revert 1", "revert"],
  [{ phase: "trial", tries: 1 }, "restart", "trial 0", "try"],
  [{ phase: "trial", tries: 0 }, "restart", "revert 0", "revert"],
  [{ phase: "trial", tries: 1 }, "done", "trial 1", "try"],
  [{ phase: "commit" }, "healthy", "commit 1", "commit"],
  [{ phase: "commit" }, "unhealthy", "commit 1", "commit"],
  [{ phase: "commit" }, "restart", "commit 1", "commit"],
  [{ phase: "commit" }, "done", "over", "end"],
  [{ phase: "revert", reason }, "healthy", "revert 1", "revert"],
  [{ phase: "revert", reason }, "unhealthy", "revert 1", "revert"],
  [{ phase: "revert", reason }, "restart", "revert 1", "revert"],
  [{ phase: "revert", reason }, "done", "over", "end"],
];

describe("a transaction", () => {
  test.each(table)("in %o, %s: %s, %s", (state, name, expected, action) => {
    const event = events[name] ?? expect.fail(name);
    const step = advance({ ...base, ...state }, event);
    const next = step.next === undefined ? "over" : `${step.next.phase} ${step.next.tries}`;
    expect([next, step.action]).toEqual([expected, action]);
  });

  test("says why it is given up", () => {
    expect(advance(base, { kind: "unhealthy", reason }).next?.reason).toEqual(reason);
    expect(advance({ ...base, tries: 0 }, { kind: "restart" }).next?.reason?.code).toBe(
      "generation-tries-exhausted",
    );
  });

  test("runs the new generation until it is given up, and the old one, or none, from then on", () => {
    expect(activeOf(base)).toBe(5);
    expect(activeOf({ ...base, phase: "commit" })).toBe(5);
    expect(activeOf({ ...base, phase: "revert" })).toBe(4);
    expect(activeOf({ ...base, phase: "revert", from: null })).toBeUndefined();
  });

  test("ends, whatever happens, when the device keeps starting and nothing decides (F08)", () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 5 }),
        fc.array(fc.constantFrom("restart", "done"), { maxLength: 40 }),
        (tries, names) => {
          let at: Transaction | undefined = { ...base, tries };
          let restarts = 0;
          for (const name of names) {
            if (at === undefined) break;
            // A trial is not over before somebody has judged it.
            if (at.phase === "trial" && name === "done") continue;
            if (name === "restart") restarts += 1;
            at = advance(at, events[name] ?? expect.fail(name)).next;
          }
          if (restarts > tries) expect(at?.phase === "trial").toBe(false);
        },
      ),
    );
  });

  test("never goes from one verdict to the other", () => {
    const names = fc.array(fc.constantFrom(...Object.keys(events)), { maxLength: 30 });
    fc.assert(
      fc.property(names, (sequence) => {
        let at: Transaction | undefined = base;
        const phases: string[] = [];
        for (const name of sequence) {
          if (at === undefined) break;
          at = advance(at, events[name] ?? expect.fail(name)).next;
          if (at !== undefined && at.phase !== phases.at(-1)) phases.push(at.phase);
        }
        expect(["", "trial", "trial,commit", "trial,revert", "commit", "revert"]).toContain(phases.join(","));
      }),
    );
  });
});
