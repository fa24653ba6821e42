// An update that somebody asked for, as the operation that the agent, or mosctl without one, runs.
import type { AgentContext } from "./context.ts";
import { untilIdle } from "./idle.ts";
import type { Progress } from "./progress.ts";
import { type UpdateOptions, type UpdateResult, update } from "./update.ts";

export interface RequestedUpdate extends UpdateOptions {
  readonly reference: string;
  /** Fetch now, and disturb services only once nothing is in /run/mos/busy.d. */
  readonly whenIdle: boolean;
}

/** @throws MosError as {@link update} does, and the signal's reason */
export async function requestedUpdate(
  context: AgentContext,
  { reference, whenIdle, allowOlder, retry }: RequestedUpdate,
  progress: Progress,
  signal: AbortSignal,
): Promise<UpdateResult> {
  return await update(context, reference, { allowOlder, retry }, progress, {
    signal,
    ...(whenIdle ? { beforeActivation: () => untilIdle(context, progress, signal) } : {}),
  });
}
