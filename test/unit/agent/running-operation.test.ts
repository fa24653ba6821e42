import { afterEach, describe, expect, it } from "vitest";
import type { Progress } from "../../../src/agent/progress.ts";
import { Operations } from "../../../src/agent/running-operation.ts";
import { asMosError, MosError } from "../../../src/errors/mos-error.ts";

const request = (purpose: string, waitMs = 0) => ({ purpose, waitMs });
const nothing: Progress = () => undefined;
const codeOf = async (work: Promise<unknown>) =>
  await work.then(
    () => "done",
    (error) => asMosError(error).code,
  );

/** An operation that the test holds at a step. */
function held(operations: Operations, purpose: string, step: "fetch images" | "activate" = "fetch images") {
  const gate = Promise.withResolvers<string>();
  const begun = Promise.withResolvers<void>();
  const done = operations.run(
    request(purpose),
    async (progress, signal) => {
      progress({ kind: "step", step });
      begun.resolve();
      signal.addEventListener("abort", () => gate.reject(new Error("connection was closed")));
      const result = await gate.promise;
      progress({ kind: "bytes", done: 1, total: 1 });
      return result;
    },
    nothing,
  );
  done.catch(() => undefined);
  return { done, begun: begun.promise, finish: () => gate.resolve(purpose) };
}

const finished: (() => void)[] = [];
afterEach(() => {
  for (const finish of finished.splice(0)) finish();
});

describe("one operation at a time", () => {
  it("tells others who holds the device, since when, and at which step", async () => {
    const operations = new Operations(nothingActive);
    const first = held(operations, "update to A");
    finished.push(first.finish);
    await first.begun;
    const error = await operations
      .run(request("rollback"), async () => "no", nothing)
      .catch((thrown) => asMosError(thrown));
    if (!(error instanceof MosError)) throw new Error("it ran");
    expect(error.code).toBe("busy");
    expect(error.message).toMatch(/update to A \(since 20.*, at the step "fetch images"\)/);
    expect(operations.running).toMatchObject({
      purpose: "update to A",
      step: "fetch images",
      canCancel: true,
    });
  });

  it("begins after what the agent does first by itself, without an error for who cannot wait, and if that fails too", async () => {
    const operations = new Operations(nothingActive);
    const own = Promise.withResolvers<void>();
    operations.first(own.promise);
    let hasBegun = false;
    const update = operations.run(
      request("update to A"),
      async () => {
        hasBegun = true;
      },
      nothing,
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(hasBegun).toBe(false);
    own.reject(new Error("the EFI system partition is gone"));
    expect(await codeOf(update)).toBe("done");
  });

  it("lets who waits run after it, one after the other", async () => {
    const operations = new Operations(nothingActive);
    const first = held(operations, "A");
    await first.begun;
    const order: string[] = [];
    let running = 0;
    const others = ["B", "C", "D"].map((purpose) =>
      operations.run(
        request(purpose, 60_000),
        async () => {
          expect(++running).toBe(1);
          order.push(purpose);
          await new Promise((resolve) => setImmediate(resolve));
          running--;
        },
        nothing,
      ),
    );
    first.finish();
    await Promise.all([first.done, ...others]);
    expect(order.toSorted()).toEqual(["B", "C", "D"]);
    expect(operations.running).toBeUndefined();
  });

  it("lets nobody wait longer than they said, and says what is waited for", async () => {
    const operations = new Operations(nothingActive);
    const first = held(operations, "A");
    finished.push(first.finish);
    await first.begun;
    const told: string[] = [];
    const waited = operations.run(
      request("B", 30),
      async () => "no",
      (event) => {
        if (event.kind === "held") told.push(event.by);
      },
    );
    expect(await codeOf(waited)).toBe("busy");
    expect(told.join()).toContain("A (since");
  });

  it("does not begin what its caller has given up waiting for", async () => {
    const operations = new Operations(nothingActive);
    const first = held(operations, "A");
    await first.begun;
    const gone = new AbortController();
    let ran = false;
    const waiting = operations.run(
      { ...request("B", 60_000), gone: gone.signal },
      async () => {
        ran = true;
      },
      nothing,
    );
    gone.abort();
    expect(await codeOf(waiting)).toBe("busy");
    first.finish();
    await first.done;
    expect(ran).toBe(false);
  });

  it("waits for the lock of another process, and takes no other failure for that", async () => {
    const operations = new Operations(nothingActive);
    let attempts = 0;
    const late = operations.run(
      request("A", 60_000),
      async () => {
        if (++attempts < 3) throw new MosError("busy", "another process holds it");
        return "done";
      },
      nothing,
    );
    expect(await late).toBe("done");
    const begun = operations.run(
      request("B", 60_000),
      async (progress) => {
        progress({ kind: "step", step: "fetch images" });
        throw new MosError("busy", "another process stores the same blob");
      },
      nothing,
    );
    expect(await codeOf(begun)).toBe("busy");
  });
});

describe("cancelling", () => {
  it("ends an operation that has changed nothing, whatever that made fail", async () => {
    const operations = new Operations(nothingActive);
    const first = held(operations, "update to A");
    await first.begun;
    expect(await operations.cancel()).toMatchObject({ purpose: "update to A", step: "fetch images" });
    expect(await codeOf(first.done)).toBe("cancelled");
    expect(operations.running).toBeUndefined();
  });

  it("comes too late once the device is being changed", async () => {
    const operations = new Operations(nothingActive);
    const first = held(operations, "update to A", "activate");
    await first.begun;
    expect(await codeOf(operations.cancel())).toBe("cancel-too-late");
    first.finish();
    expect(await first.done).toBe("update to A");
  });

  it("says that nothing runs", async () => {
    expect(await codeOf(new Operations(nothingActive).cancel())).toBe("nothing-running");
  });

  it("leaves an operation alone that had ended before it heard of it", async () => {
    const operations = new Operations(nothingActive);
    const begun = Promise.withResolvers<void>();
    const done = operations.run(
      request("A"),
      async (progress, signal) => {
        progress({ kind: "step", step: "stage" });
        begun.resolve();
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return "whole";
      },
      nothing,
    );
    await begun.promise;
    expect(await codeOf(operations.cancel())).toBe("cancel-too-late");
    expect(await done).toBe("whole");
  });
});

describe("an operation that nobody follows", () => {
  it("is accepted as soon as it has begun, and goes on; the agent stays as long", async () => {
    let active = 0;
    const operations = new Operations((change) => {
      active += change;
    });
    const gate = Promise.withResolvers<void>();
    const accepted = await operations.begin(request("update to A"), async (progress) => {
      progress({ kind: "step", step: "fetch manifest" });
      await gate.promise;
    });
    expect(accepted).toMatchObject({ purpose: "update to A", canCancel: true });
    expect(active).toBe(1);
    gate.resolve();
    while (operations.running !== undefined) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(active).toBe(0);
  });

  it("is refused when it fails before it begins", async () => {
    const operations = new Operations(nothingActive);
    const refused = operations.begin(request("A"), async () => {
      throw new MosError("reference-invalid", "no such thing");
    });
    expect(await codeOf(refused)).toBe("reference-invalid");
  });
});

function nothingActive(): void {}
