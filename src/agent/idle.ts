// Whether the device may be disturbed: it may while nothing is in /run/mos/busy.d. Files, because a shell script, a unit
// (ExecStartPre= and ExecStopPost=) and a person can make and remove one, and see who is in the way, before any bus is
// up and without one; and because /run is empty after a boot, so that nobody who died holds a device for ever.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemCode } from "../errors/mos-error.ts";
import type { AgentContext } from "./context.ts";
import type { Progress } from "./progress.ts";

const pollMs = 2_000;

/** Names of those who do not want to be disturbed, sorted. */
export async function whoIsBusy({ places }: AgentContext): Promise<readonly string[]> {
  try {
    return (await readdir(join(places.run, "busy.d"))).sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Waits until nobody is busy. @throws the signal's reason */
export async function untilIdle(
  context: AgentContext,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  for (let busy = await whoIsBusy(context); busy.length > 0; busy = await whoIsBusy(context)) {
    progress({ kind: "held", by: `the device is in use by ${busy.slice(0, 5).join(", ")}` });
    await delay(pollMs, undefined, { signal }).catch(() => undefined);
    signal.throwIfAborted();
  }
}
