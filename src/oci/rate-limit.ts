// How fast a device may fetch, all of its downloads together. Waiting is done by the reader, so a connection that it
// does not read from is slowed down by TCP itself.
import { setTimeout as delay } from "node:timers/promises";

/** One budget of bytes per second, spent by whoever asks first. */
export class RateLimit {
  private readonly bytesPerSecond: number;
  /** When (`performance.now()`) all that was taken so far may have come. */
  private paidUntil = 0;

  constructor(bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond;
  }

  /**
   * Waits until so many more bytes may have come. Time in which nothing was taken is not saved up.
   * @throws the signal's reason when it is aborted meanwhile
   */
  async take(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    const now = performance.now();
    this.paidUntil = Math.max(this.paidUntil, now) + (bytes * 1000) / this.bytesPerSecond;
    const wait = this.paidUntil - now;
    await delay(wait, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    signal?.throwIfAborted();
  }
}
