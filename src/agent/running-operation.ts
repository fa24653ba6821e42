// What changes the device, one at a time. It goes on when its caller goes away, others are told who holds it or wait,
// and until the new generation is brought up it can be cancelled: what was fetched stays for the next attempt.
import { setTimeout as delay } from "node:timers/promises";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { log } from "./log.ts";
import type { Progress, ProgressEvent, UpdateStep } from "./progress.ts";

/** Between two looks at a lock that another process holds, milliseconds. */
const lockPollMs = 250;

/** Up to these steps nothing has changed but the store. */
const cancellableSteps: ReadonlySet<UpdateStep> = new Set([
  "fetch manifest",
  "verify",
  "preflight",
  "fetch images",
  "stage",
]);

export interface OperationInfo {
  readonly purpose: string;
  /** RFC 3339. */
  readonly since: string;
  readonly step?: string;
  readonly canCancel: boolean;
}

export interface OperationRequest {
  /** What is done, as others are told: `update to REF`. */
  readonly purpose: string;
  /** How long to wait for another operation to end, milliseconds. */
  readonly waitMs: number;
  /** Aborted when the caller goes away; ends the waiting, never the operation. */
  readonly gone?: AbortSignal;
}

type Work<T> = (progress: Progress, signal: AbortSignal) => Promise<T>;

/** The operation that runs in this process. */
class Running {
  readonly controller = new AbortController();
  readonly ended = Promise.withResolvers<"done" | "failed">();
  readonly since = new Date().toISOString();
  readonly purpose: string;
  step: UpdateStep | undefined;
  hasBegun = false;

  constructor(purpose: string) {
    this.purpose = purpose;
  }

  get info(): OperationInfo {
    const { purpose, since, step } = this;
    return { purpose, since, ...(step === undefined ? {} : { step }), canCancel: this.canCancel };
  }

  get canCancel(): boolean {
    return this.step !== undefined && cancellableSteps.has(this.step);
  }

  /** Notes where the operation is. @throws MosError `cancelled` when it was, and still can be */
  note(event: ProgressEvent): void {
    this.hasBegun = true;
    if (event.kind === "step") this.step = event.step;
    if (this.canCancel) this.controller.signal.throwIfAborted();
  }
}

function busy({ purpose, since, step }: OperationInfo): MosError {
  const at = step === undefined ? "" : `, at the step "${step}"`;
  return new MosError("busy", `another transaction is running: ${purpose} (since ${since}${at})`, {
    about: purpose,
  });
}

export class Operations {
  private current: Running | undefined;
  private own: Promise<unknown> = Promise.resolve();
  private readonly onActivity: (change: 1 | -1) => void;

  /** @param onActivity told of an operation that begins (1) and ends (-1) */
  constructor(onActivity: (change: 1 | -1) => void) {
    this.onActivity = onActivity;
  }

  /**
   * Something short that the agent does by itself and that takes the device's lock: operations wait for its end, which is
   * nothing that a caller would have to know of.
   */
  first(work: Promise<unknown>): void {
    this.own = work.catch(() => undefined);
  }

  /** What runs now. */
  get running(): OperationInfo | undefined {
    return this.current?.info;
  }

  /**
   * Runs an operation, after the one that runs if there is time to wait for it.
   * @param work has to take the device's lock before it tells of any progress
   * @param onProgress told what happens; its failures are the caller's own
   * @throws MosError `busy`, `cancelled`, and what the work throws
   */
  async run<T>(request: OperationRequest, work: Work<T>, onProgress: Progress): Promise<T> {
    const deadline = performance.now() + request.waitMs;
    this.onActivity(1);
    try {
      await this.own;
      for (;;) {
        const running = await this.takeTurn(request, deadline, onProgress);
        const outcome = await this.attempt(running, work, onProgress);
        if (!("error" in outcome)) return outcome.result;
        const { error } = outcome;
        // The lock is held by another process: a mosctl without agent, or a trial that began at the boot.
        const isLocked = error.code === "busy" && !running.hasBegun;
        if (!isLocked || performance.now() >= deadline || request.gone?.aborted === true) throw error;
        onProgress({ kind: "held", by: error.message });
        await delay(lockPollMs);
      }
    } finally {
      this.onActivity(-1);
    }
  }

  /**
   * Begins an operation that nobody follows.
   * @returns what runs, as soon as it holds the lock; how it ends is in the log and in the device's status
   * @throws MosError as {@link run} does, for what fails before
   */
  async begin<T>(request: OperationRequest, work: Work<T>): Promise<OperationInfo> {
    const begun = Promise.withResolvers<OperationInfo>();
    const onProgress: Progress = ({ kind }) => {
      if (kind !== "held" && this.running !== undefined) begun.resolve(this.running);
    };
    this.run(request, work, onProgress).then(
      () => begun.resolve({ purpose: request.purpose, since: new Date().toISOString(), canCancel: false }),
      begun.reject,
    );
    return await begun.promise;
  }

  /**
   * Cancels what runs, and waits for its end.
   * @throws MosError `nothing-running`, `cancel-too-late`
   */
  async cancel(): Promise<OperationInfo> {
    const running = this.current;
    if (running === undefined) throw new MosError("nothing-running", "cannot cancel: nothing is running");
    const { info } = running;
    const tooLate = () =>
      new MosError(
        "cancel-too-late",
        `cannot cancel the ${info.purpose}: it is past the point up to which it can be`,
        {
          about: info.step ?? info.purpose,
        },
      );
    if (!info.canCancel) throw tooLate();
    running.controller.abort(new MosError("cancelled", `the ${info.purpose} was cancelled`));
    if ((await running.ended.promise) === "done") throw tooLate();
    return info;
  }

  /** Waits until nothing runs, and takes the place in the same instant: others are woken too. */
  private async takeTurn(
    request: OperationRequest,
    deadline: number,
    onProgress: Progress,
  ): Promise<Running> {
    for (let other = this.current; other !== undefined; other = this.current) {
      const left = deadline - performance.now();
      const error = busy(other.info);
      if (left <= 0 || request.gone?.aborted === true) throw error;
      onProgress({ kind: "held", by: error.message });
      const stop = new AbortController();
      const signal = request.gone === undefined ? stop.signal : AbortSignal.any([request.gone, stop.signal]);
      await Promise.race([other.ended.promise, delay(left, undefined, { signal }).catch(() => undefined)]);
      stop.abort();
    }
    const running = new Running(request.purpose);
    this.current = running;
    return running;
  }

  private async attempt<T>(
    running: Running,
    work: Work<T>,
    onProgress: Progress,
  ): Promise<{ readonly result: T } | { readonly error: MosError }> {
    const { purpose, controller, ended } = running;
    const progress: Progress = (event) => {
      running.note(event);
      onProgress(event);
    };
    try {
      const result = await work(progress, controller.signal);
      log.info({ purpose }, "done");
      this.current = undefined;
      ended.resolve("done");
      return { result };
    } catch (thrown) {
      const { signal } = controller;
      // Whatever the abort made fail first: that it was cancelled is why.
      const wasCancelled = signal.aborted && running.canCancel;
      const error = asMosError(wasCancelled ? signal.reason : thrown);
      if (error.code !== "busy") log.error({ purpose, code: error.code }, error.message);
      this.current = undefined;
      ended.resolve("failed");
      return { error };
    }
  }
}
