// mosctl activate: brings the running system to what its generation says, as a boot does, or one service of it. Verified
// again each time, with no network.
import { MosError } from "../errors/mos-error.ts";
import { lockPath } from "../generation/places.ts";
import { serviceUnit } from "../services/unit-names.ts";
import { withLock } from "../system/lock.ts";
import { loadActive } from "./active.ts";
import { bringUp } from "./bring-up.ts";
import type { AgentContext } from "./context.ts";
import type { LoadedGeneration } from "./load.ts";
import { type UnwellService, unwellServices } from "./status.ts";

export interface ActivateResult {
  readonly generation: number;
  /** Whether anything had to be written, started or stopped. */
  readonly changed: boolean;
  readonly restarted: readonly string[];
  /** Services that are not well now, of those that were asked for, and why. */
  readonly unwell: readonly UnwellService[];
}

/** @throws MosError `service-unknown`, or why its image cannot be used */
function checkService({ manifest, problems }: LoadedGeneration, service: string): void {
  const target = manifest.targets.find(({ service_name }) => service_name === service);
  if (target === undefined)
    throw new MosError("service-unknown", `the generation that runs has no service ${service}`, {
      about: service,
    });
  if (target.service_type === "hostfs")
    throw new MosError("service-unknown", `${service} is what the device boots from: it is not activated`, {
      about: service,
      hint: "It is used from the next boot on.",
    });
  const problem = problems.find((one) => one.service === service);
  if (problem !== undefined) throw problem.error;
}

/**
 * @param service one of the generation, which is stopped and started again where it is not well; undefined for all
 * @throws MosError `generation-unknown` when nothing was ever applied, `service-unknown`, and what bringing up throws
 */
export async function activate(context: AgentContext, service: string | undefined): Promise<ActivateResult> {
  return await withLock(lockPath(context.places), "activate", async () => {
    const { loaded } = await loadActive(context);
    if (loaded === undefined)
      throw new MosError("generation-unknown", "cannot activate: nothing was ever applied on this device");
    if (service !== undefined) {
      checkService(loaded, service);
      // One that failed too often is not started by the target any more.
      await context.systemd.resetFailed([serviceUnit(service)]);
    }
    const { applied } = await bringUp(context, loaded, "wait");
    const unwell = await unwellServices(context);
    return {
      generation: loaded.number,
      changed: applied.changed,
      restarted: applied.restarted,
      unwell: unwell.filter((one) => service === undefined || one.service === service),
    };
  });
}
