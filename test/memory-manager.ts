// A service manager without a system: units that were started are up, unless the test says otherwise. The real one is
// asked in the machine lane. Nothing of vitest in here, because programs that tests start use it too.
import { MosError } from "../src/errors/mos-error.ts";
import type { MonotonicClock } from "../src/system/monotonic.ts";
import type { ServiceManager, UnitProperties } from "../src/systemd/manager.ts";

export interface MemoryManager extends ServiceManager {
  /** Units that are up. */
  readonly up: Set<string>;
  /** Units that fail whenever they are started. */
  readonly failing: Set<string>;
  /** What was asked, in order. */
  readonly calls: string[];
  /** Nothing answers any more. */
  isGone: boolean;
}

/** A manager under which nothing runs yet. */
export function memoryManager(): MemoryManager {
  const [up, failing] = [new Set<string>(), new Set<string>()];
  const calls: string[] = [];
  const failed = new Set<string>();
  const asked = async (call: string): Promise<void> => {
    if (manager.isGone) throw new MosError("systemd-failed", `cannot ask the service manager (${call})`);
    calls.push(call);
  };
  const start = (units: readonly string[]): void => {
    for (const unit of units) {
      if (failing.has(unit)) failed.add(unit);
      else up.add(unit);
    }
  };
  const manager: MemoryManager = {
    ...{ up, failing, calls, isGone: false },
    daemonReload: () => asked("daemon-reload"),
    stopUnits: async (units) => {
      await asked(`stop ${units.join(" ")}`);
      for (const unit of units) {
        up.delete(unit);
        failed.delete(unit);
      }
    },
    startUnits: async (units) => {
      await asked(`start ${units.join(" ")}`);
      for (const unit of units) failed.delete(unit);
      start(units);
    },
    startUnitsNoBlock: async (units) => {
      await asked(`start --no-block ${units.join(" ")}`);
      start(units);
    },
    resetFailed: async (units) => {
      await asked(`reset-failed ${units.join(" ")}`);
      for (const unit of units) failed.delete(unit);
    },
    showUnits: async (units): Promise<UnitProperties[]> => {
      if (manager.isGone) throw new MosError("systemd-failed", "cannot ask the service manager (show)");
      const state = (unit: string) => (up.has(unit) ? "active" : failed.has(unit) ? "failed" : "inactive");
      return units.map((unit) => ({
        Id: unit,
        LoadState: "loaded",
        ActiveState: state(unit),
        NRestarts: "0",
      }));
    },
    lastLogLines: async () => [],
    runOnce: (program, ...args) => asked(`run ${[program, ...args].join(" ")}`),
    reboot: () => asked("reboot"),
  };
  return manager;
}

/** A clock on which nobody has to wait: time passes when somebody sleeps. */
export function impatientClock(): MonotonicClock {
  let now = 0;
  const sleep = async (ms: number): Promise<void> => {
    now += ms;
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { now: () => now, sleep };
}
