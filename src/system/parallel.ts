// A bounded number of things at once.

/**
 * Does the work for each item, at most `limit` at a time, in their order. After the first failure nothing more is
 * begun; what runs is waited for, so that nothing goes on behind the caller's back.
 * @param onFailure told of the first failure at once, so that it can stop what runs
 * @throws that first failure
 */
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
  onFailure: (error: unknown) => void,
): Promise<void> {
  const failures: unknown[] = [];
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      try {
        await work(item);
      } catch (error) {
        if (failures.push(error) === 1) onFailure(error);
      }
      if (failures.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
}
