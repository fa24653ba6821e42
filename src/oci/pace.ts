// The pace that a transfer must keep (attack A11, slow retrieval): something within the idle time, and a minimum
// rate on average. Only time spent waiting for the other side counts; a slow disk here is not its fault.
import type { RegistryLimits } from "./limits.ts";

/** Keeps the account of one transfer. Pure: the caller tells it the time. */
export class Pace {
  private readonly limits: RegistryLimits;
  /** Milliseconds waited and bytes moved in the current window. */
  private waited = 0;
  private bytes = 0;

  constructor(limits: RegistryLimits) {
    this.limits = limits;
  }

  /** Milliseconds that the next wait may take. */
  get patienceMs(): number {
    const { idleMs, rateWindowMs } = this.limits;
    // At the end of a window that was too slow there is nothing more to wait for.
    const isSlow = this.bytes < (this.limits.minBytesPerSecond * rateWindowMs) / 1000;
    return isSlow ? Math.max(1, Math.min(idleMs, rateWindowMs - this.waited)) : idleMs;
  }

  /** Counts what moved. */
  moved(bytes: number): void {
    this.bytes += bytes;
  }

  /** Counts a wait that ended. @returns false when the window is over and was too slow */
  waitedFor(ms: number): boolean {
    const { rateWindowMs, minBytesPerSecond } = this.limits;
    this.waited += ms;
    if (this.waited < rateWindowMs) return true;
    const isEnough = this.bytes >= (minBytesPerSecond * this.waited) / 1000;
    this.waited = 0;
    this.bytes = 0;
    return isEnough;
  }
}
