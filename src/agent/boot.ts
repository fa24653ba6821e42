// What both stages of a boot do (DESIGN section 4): verify the current generation and bring its units up, from what is
// on disk, with no network. Where the live units are already those of the generation nothing happens.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { lockPath } from "../generation/places.ts";
import type { Transaction } from "../generation/transaction.ts";
import type { Digest } from "../oci/digest.ts";
import { fault } from "../system/fault.ts";
import { withLock } from "../system/lock.ts";
import { type Active, loadActive } from "./active.ts";
import { type BroughtUp, bringDown, bringUp } from "./bring-up.ts";
import type { AgentContext } from "./context.ts";
import { takeOver } from "./handover.ts";
import type { TargetProblem } from "./load.ts";
import { abandonTrial, endRevert, type Resumed, resume } from "./resume.ts";
import { remember } from "./trust.ts";

interface Running {
  readonly generation: number;
  /** Of its install.json. */
  readonly digest: Digest;
  readonly problems: readonly TargetProblem[];
  /** What was found damaged, and is done without. */
  readonly damage: readonly MosError[];
  /** The generation is on trial: somebody has to watch it. */
  readonly trial: Transaction | undefined;
  /** Why a generation was given up, and what came before it runs. */
  readonly givenUp: MosError | undefined;
}

/** How the stage ended. */
export type BootOutcome =
  /** Units were written and their start was asked for. */
  | ({ readonly kind: "applied" } & Running)
  /** The live units were already those of the generation. */
  | ({ readonly kind: "unchanged" } & Running)
  /** The initrd stage has brought the generation up, and it is what the boot starts. */
  | ({ readonly kind: "nothing-to-do" } & Running)
  /** No manifest has been applied on this device yet. */
  | { readonly kind: "no-generation" }
  /** A check failed: nothing of the generation was started. */
  | { readonly kind: "refused"; readonly error: MosError };

/** Milliseconds of each part, for the log and `./dev bench`. */
export interface BootTimings {
  readonly verify: number;
  readonly render: number;
  readonly apply: number;
}

/** What a boot is about to bring up. */
interface Choice extends Active, Resumed {}

async function choose(context: AgentContext): Promise<Choice> {
  const resumed = await resume(context);
  try {
    return { ...(await loadActive(context)), ...resumed };
  } catch (error) {
    if (resumed.trial === undefined) throw error;
    const given = await abandonTrial(context, resumed.trial, error);
    return { ...(await loadActive(context)), ...given };
  }
}

function failureOf({ to, reason }: Transaction): MosError {
  const why = reason === undefined ? "" : `: ${reason.message}`;
  return new MosError("generation-unhealthy", `generation ${to} was given up${why}`, {
    about: `generation ${to}`,
  });
}

async function bringUpChoice(
  context: AgentContext,
  choice: Choice,
  onRendered: () => void,
): Promise<BootOutcome> {
  const { loaded, trial, reverting, damage } = choice;
  if (loaded === undefined) {
    await bringDown(context);
    if (reverting !== undefined) await endRevert(context);
    return { kind: "no-generation" };
  }
  await fault("boot.remember");
  // What is only tried must not become something that cannot be left again.
  if (trial === undefined)
    await remember(context, loaded.trust, loaded.current.records, loaded.manifest.release?.epoch ?? 0);
  await fault("boot.apply");
  let up: BroughtUp;
  try {
    up = await bringUp(context, loaded, "boot", onRendered);
  } catch (error) {
    if (trial === undefined) throw error;
    const given = await abandonTrial(context, trial, error);
    const before = { ...(await loadActive(context)), ...given };
    return await bringUpChoice(context, before, onRendered);
  }
  if (reverting !== undefined) await endRevert(context);
  await fault("boot.end");
  const kind = up.applied.changed ? "applied" : "unchanged";
  const over = reverting ?? (choice.pending?.phase === "revert" ? choice.pending : undefined);
  const givenUp = over === undefined ? undefined : failureOf(over);
  const { number: generation, digest } = loaded;
  return { kind, generation, digest, problems: up.problems, damage, trial, givenUp };
}

export async function boot(
  context: AgentContext,
): Promise<{ readonly outcome: BootOutcome; readonly timings: BootTimings }> {
  const marks = [performance.now()];
  const mark = () => marks.push(performance.now());
  const timings = () => {
    const part = (i: number) => Math.max(0, (marks[i + 1] ?? marks[i] ?? 0) - (marks[i] ?? 0));
    return { verify: part(0), render: part(1), apply: part(2) };
  };
  try {
    return await withLock(lockPath(context.places), "boot", async () => {
      const done = await takeOver(context);
      if (done !== undefined) return { outcome: done, timings: timings() };
      await fault("boot.load");
      const choice = await choose(context);
      mark();
      const outcome = await bringUpChoice(context, choice, mark);
      mark();
      return { outcome, timings: timings() };
    });
  } catch (error) {
    return { outcome: { kind: "refused", error: asMosError(error) }, timings: timings() };
  }
}
