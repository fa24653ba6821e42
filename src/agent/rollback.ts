// mosctl rollback: back to a generation that is on the disk, with no network. It is verified as at a boot, by the trust
// of today: an epoch that was left, a revoked key or a former CA is no way back.
import { MosError } from "../errors/mos-error.ts";
import { listGenerations, pointedGeneration, readGeneration } from "../generation/generations.ts";
import { lockPath, storePath } from "../generation/places.ts";
import { defaultGate } from "../manifest/health-schema.ts";
import { digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { fault } from "../system/fault.ts";
import { withLock } from "../system/lock.ts";
import { loadRunning } from "./active.ts";
import { awaitReboot } from "./await-reboot.ts";
import { recordsOnDisk } from "./candidate.ts";
import type { AgentContext } from "./context.ts";
import type { Progress } from "./progress.ts";
import { stage } from "./stage.ts";
import { type UnwellService, unwellServices } from "./status.ts";
import { runTrial, settle } from "./trial.ts";
import { acceptGeneration, currentRoot, loadTrust } from "./trust.ts";
import { otherSystemOf } from "./update.ts";

export interface RollbackResult {
  /**
   * `unchanged`: the generation is the one that runs already; `awaits-reboot`: it runs once the device was started
   * anew, because it has another kernel and root.
   */
  readonly outcome: "rolled-back" | "unchanged" | "awaits-reboot";
  readonly generation: number;
  /** Which one ran before. */
  readonly from: number | undefined;
  readonly manifestDigest: string;
  readonly restarted: readonly string[];
  /** Services that are not well now that everything was started, and why. */
  readonly unwell: readonly UnwellService[];
}

/** The generation that is wanted, or the one before the current one. */
async function chooseGeneration({ places }: AgentContext, wanted: number | undefined): Promise<number> {
  const number = wanted ?? (await pointedGeneration(places, "previous"));
  if (number === undefined) {
    throw new MosError("generation-unknown", "cannot go back: there is no generation before this one");
  }
  if ((await listGenerations(places)).includes(number)) return number;
  throw new MosError("generation-unknown", `cannot go to generation ${number}: it is not on this device`, {
    about: `generation ${number}`,
  });
}

/**
 * @param wanted number of a generation; undefined for the one before
 * @throws MosError of any check; `generation-unhealthy` when it was tried and the device went back. In every case the
 * device runs on as it was
 */
export async function rollback(
  context: AgentContext,
  wanted: number | undefined,
  progress: Progress,
): Promise<RollbackResult> {
  const { places } = context;
  return await withLock(lockPath(places), "rollback", async () => {
    await settle(context, progress);
    const running = await loadRunning(context);
    const number = await chooseGeneration(context, wanted);

    progress({ kind: "step", step: "verify" });
    await fault("rollback.verify");
    const generation = await readGeneration(places, number);
    const trust = running?.trust ?? (await loadTrust(context));
    const current = running?.current ?? currentRoot(trust, await recordsOnDisk(context));
    const { manifest } = acceptGeneration(trust, current.root, generation);
    if (generation.record.trustRecords !== current.records.length) {
      throw new MosError(
        "handover-refused",
        `cannot go to generation ${number}: whom this device trusts has changed since`,
        {
          about: `generation ${number}`,
          hint: "mosctl update REF brings the manifest again, signed as it has to be now.",
        },
      );
    }

    progress({ kind: "step", step: "stage" });
    await fault("rollback.stage");
    const store = await Layout.open(storePath(places));
    const staged = await stage(context, store, manifest, new Set());
    const system = running?.number === number ? undefined : await otherSystemOf(context, store, manifest);
    const { withdrawWaiting } = await import("./system-boot.ts");
    await withdrawWaiting(context);
    const from = running?.number;
    const done = { generation: number, from, manifestDigest: digestOf(generation.manifest) };
    if (from === number) {
      progress({ kind: "step", step: "activate" });
      const applied = await staged.activate(number, "wait");
      const outcome = applied.changed ? "rolled-back" : "unchanged";
      return { outcome, ...done, restarted: applied.restarted, unwell: await unwellServices(context) };
    }
    const { tries } = manifest.health ?? defaultGate;
    const activate = () => staged.activate(number, "trial");
    if (system !== undefined) {
      await awaitReboot(context, { kind: "rollback", from: from ?? null, to: number, tries, ...system });
      return { outcome: "awaits-reboot", ...done, restarted: [], unwell: [] };
    }
    const beginning = { kind: "rollback", from: from ?? null, to: number, excused: [] } as const;
    const applied = await runTrial(context, { ...beginning, manifest, tries, activate }, progress);
    await fault("rollback.end");
    const unwell = await unwellServices(context);
    return { outcome: "rolled-back", ...done, restarted: applied.restarted, unwell };
  });
}
