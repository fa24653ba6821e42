// Several things at once, and what becomes of the others when one fails.
import fc from "fast-check";
import { expect, test } from "vitest";
import { inParallel } from "../../../src/system/parallel.ts";

test("everything is done once, in its order, and never more at a time than allowed", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(20), fc.integer({ min: 1, max: 5 }), async (count, limit) => {
      const items = Array.from({ length: count }, (_, i) => i);
      const begun: number[] = [];
      let now = 0;
      let most = 0;
      const work = async (item: number): Promise<void> => {
        begun.push(item);
        most = Math.max(most, ++now);
        await new Promise((resolve) => setImmediate(resolve));
        now--;
      };
      await inParallel(items, limit, work, () => undefined);
      expect(begun).toEqual(items);
      expect(most).toBe(Math.min(count, limit));
    }),
  );
});

test("after the first failure nothing is begun, what runs is waited for, and that failure is thrown", async () => {
  const [done, told]: [number[], unknown[]] = [[], []];
  let stop: () => void = () => undefined;
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const work = async (item: number): Promise<void> => {
    if (item === 1) throw new Error("first");
    await stopped;
    done.push(item);
    throw new Error("later");
  };
  const onFailure = (error: unknown): void => {
    told.push(error);
    stop();
  };
  await expect(inParallel([0, 1, 2, 3, 4], 3, work, onFailure)).rejects.toThrow("first");
  expect(done).toEqual([0, 2]);
  expect(told).toEqual([new Error("first")]);
});
