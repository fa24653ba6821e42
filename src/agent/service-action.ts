// Starting, stopping and restarting one service by hand. Holds until the next boot or update.
import { MosError } from "../errors/mos-error.ts";
import { serviceUnit } from "../services/unit-names.ts";
import { run } from "../system/process.ts";
import type { ServiceManager } from "../systemd/manager.ts";

export type ServiceAction = "start" | "stop" | "restart";

export interface ActionResult {
  readonly service: string;
  readonly unit: string;
  /** What systemd says of it afterwards. */
  readonly state: string;
}

/**
 * The unit of a service that is on this device.
 * @throws MosError `service-unknown`, `systemd-failed`
 */
export async function knownUnit(systemd: ServiceManager, service: string): Promise<string> {
  const unit = serviceUnit(service);
  const [shown] = await systemd.showUnits([unit], ["LoadState"]);
  if (shown?.["LoadState"] === "loaded") return unit;
  throw new MosError("service-unknown", `there is no service ${service} on this device`, { about: service });
}

/**
 * Sees that a service runs, before something is done inside of it.
 * @throws MosError `service-unknown`, `service-stopped`, `systemd-failed`
 */
export async function requireRunning(systemd: ServiceManager, service: string): Promise<void> {
  const unit = await knownUnit(systemd, service);
  const [shown] = await systemd.showUnits([unit], ["ActiveState"]);
  if (shown?.["ActiveState"] === "active") return;
  throw new MosError("service-stopped", `${service} does not run`, {
    about: service,
    hint: `mosctl start ${service}`,
  });
}

/**
 * Does it and waits until it is done; services that depend on it go with it.
 * @throws MosError `service-unknown`, `service-failed` when it is not up afterwards but should be, `systemd-failed`
 */
export async function actOnService(
  systemd: ServiceManager,
  service: string,
  action: ServiceAction,
): Promise<ActionResult> {
  const unit = await knownUnit(systemd, service);
  if (action === "start") await systemd.startUnits([unit]);
  else if (action === "stop") await systemd.stopUnits([unit]);
  else {
    await systemd.resetFailed([unit]);
    // One job of systemd's, so that those who depend on it come back with it.
    await run("systemctl", ["restart", "--", unit], { timeoutMs: 180_000, accept: [0, 1] });
  }
  const [shown] = await systemd.showUnits([unit], ["ActiveState", "Result"]);
  const state = shown?.["ActiveState"] ?? "unknown";
  if (action !== "stop" && state !== "active") {
    const log = await systemd.lastLogLines(unit, 3).catch(() => []);
    throw new MosError("service-failed", `${service} did not come up: ${shown?.["Result"] ?? state}`, {
      about: unit,
      hint: `mosctl logs ${service}`,
      problems: log,
    });
  }
  return { service, unit, state };
}
