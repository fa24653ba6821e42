// A rate that several downloads share.
import { expect, test } from "vitest";
import { RateLimit } from "../../../src/oci/rate-limit.ts";

test("all that is taken together stays within the rate", async () => {
  const rate = new RateLimit(100_000);
  const begun = performance.now();
  const taker = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) await rate.take(2000, undefined);
  };
  await Promise.all([taker(), taker(), taker()]);
  // 30 000 bytes; a timer may fire a millisecond early.
  expect(performance.now() - begun).toBeGreaterThan(290);
});

test("time in which nothing is taken is not saved up", async () => {
  const rate = new RateLimit(100_000);
  await rate.take(1, undefined);
  const idle = performance.now();
  await expect.poll(() => performance.now() - idle).toBeGreaterThan(100);
  const begun = performance.now();
  await rate.take(10_000, undefined);
  expect(performance.now() - begun).toBeGreaterThan(90);
});

test("who waits is told at once that it is over", async () => {
  const controller = new AbortController();
  const begun = performance.now();
  const waiting = new RateLimit(1).take(1000, controller.signal);
  controller.abort(new Error("over"));
  await expect(waiting).rejects.toThrow("over");
  expect(performance.now() - begun).toBeLessThan(5000);
});
