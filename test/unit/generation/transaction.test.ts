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

const system = { from: "roothash=1", to: "roothash=2" };
const bothSystems: Readonly<Record<string, TransactionEvent>> = {
  ...events,
  "start of the new": { kind: "restart", started: "to" },
  "start of the old": { kind: "restart", started: "from" },
};

const systemTable: typeof table = [
  [{ phase: "reboot" }, "start of the old", "reboot 1", "wait"],
  [{ phase: "reboot" }, "start of the new", "trial 1", "try"],
  [{ phase: "reboot" }, "unhealthy", "revert 1", "revert"],
  [{ phase: "reboot" }, "healthy", "reboot 1", "wait"],
  [{ phase: "trial" }, "healthy", "commit 1", "commit"],
  [{ phase: "trial" }, "unhealthy", "revert 4", "go back"],
  [{ phase: "trial" }, "start of the new", "trial 0", "try"],
  [{ phase: "trial", tries: 0 }, "start of the new", "revert 4", "go back"],
  [{ phase: "trial" }, "start of the old", "revert 1", "revert"],
  [{ phase: "commit" }, "start of the old", "commit 1", "commit"],
  [{ phase: "revert", reason }, "start of the new", "revert 0", "go back"],
  [{ phase: "revert", reason, tries: 0 }, "start of the new", "revert 0", "revert"],
  [{ phase: "revert", reason }, "start of the old", "revert 1", "revert"],
  [{ phase: "revert", reason }, "done", "over", "end"],
];

describe("a transaction between two systems", () => {
  test.each(systemTable)("in %o, %s: %s, %s", (state, name, expected, action) => {
    const event = bothSystems[name] ?? expect.fail(name);
    const step = advance({ ...base, system, ...state }, event);
    const next = step.next === undefined ? "over" : `${step.next.phase} ${step.next.tries}`;
    expect([next, step.action]).toEqual([expected, action]);
  });

  test("runs the old generation until the new system was started, and says when it never came up", () => {
    expect(activeOf({ ...base, system, phase: "reboot" })).toBe(4);
    const fallenBack = advance({ ...base, system }, { kind: "restart", started: "from" });
    expect(fallenBack.next?.reason?.code).toBe("boot-failed");
  });

  test("does not start anew for ever, whichever system the loader takes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("start of the new", "start of the old"), { minLength: 20 }),
        (names) => {
          let at: Transaction | undefined = { ...base, system, phase: "reboot", tries: 3 };
          let back = 0;
          for (const name of names) {
            if (at === undefined) break;
            const step = advance(at, bothSystems[name] ?? expect.fail(name));
            if (step.action === "go back") back += 1;
            at = step.next;
          }
          expect(back).toBeLessThanOrEqual(5);
        },
      ),
    );
  });
});

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
