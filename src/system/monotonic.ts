// Time as what waits for services sees it: it only goes forwards, and passes while somebody sleeps.
import { setTimeout as sleep } from "node:timers/promises";

export interface MonotonicClock {
  /** Milliseconds since some instant. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
}

/** That of this process. */
export const monotonicClock: MonotonicClock = { now: () => performance.now(), sleep: (ms) => sleep(ms) };
