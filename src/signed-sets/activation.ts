// The units of a set, brought to what was installed and watched as those of a generation are: well, and staying so,
// or the set before comes back.
import { MosError } from "../errors/mos-error.ts";
import {
  type Accounts,
  type GatedService,
  judgeHealth,
  type Observation,
  observe,
} from "../generation/gate.ts";
import type { MonotonicClock } from "../system/monotonic.ts";
import type { ServiceManager } from "../systemd/manager.ts";
import type { UnitChange } from "./set-units.ts";

/** Milliseconds between two looks at systemd. */
const lookMs = 500;

/** What activating takes. */
export interface Activation {
  readonly systemd: ServiceManager;
  readonly clock: MonotonicClock;
  /** Seconds in which the units have to be up, and for which they have to stay so. */
  readonly timeout: number;
  readonly settle: number;
}

const states: Readonly<Record<string, Observation["state"]>> = {
  active: "up",
  reloading: "up",
  activating: "starting",
  failed: "failed",
};

async function look(systemd: ServiceManager, units: readonly string[]): Promise<Map<string, Observation>> {
  const shown = await systemd.showUnits(units, ["Id", "ActiveState", "NRestarts"]);
  return new Map(
    shown.map((unit) => {
      const state = states[unit["ActiveState"] ?? ""] ?? "down";
      return [unit["Id"] ?? "", { state, restarts: Number(unit["NRestarts"] ?? 0) || 0 }];
    }),
  );
}

/** @throws MosError `set-unhealthy` naming the units that are not well */
async function watch(
  { systemd, clock, timeout, settle }: Activation,
  units: readonly string[],
): Promise<void> {
  const services = units.map((name): GatedService => ({ name, health: undefined }));
  const begun = clock.now();
  let accounts: Accounts = new Map();
  for (;;) {
    const seen = await look(systemd, units);
    const now = clock.now();
    accounts = observe(accounts, services, seen, now);
    const verdict = judgeHealth(accounts, services, { timeout, settle }, begun, now);
    if (verdict.kind === "healthy") return;
    if (verdict.kind === "unhealthy") {
      const problems = await Promise.all(
        verdict.services.map(async ({ name, why }) => {
          const lines = await systemd.lastLogLines(name, 3).catch(() => []);
          return [`${name}: ${why}`, ...lines].join("\n");
        }),
      );
      throw new MosError("set-unhealthy", "the units of the set did not become healthy", { problems });
    }
    await clock.sleep(lookMs);
  }
}

/** Before names change: what goes is stopped while its files are there. */
export async function beforeChange({ systemd }: Activation, { gone }: UnitChange): Promise<void> {
  await systemd.stopUnits(gone);
}

/** After names changed. @throws MosError `set-unhealthy`, `systemd-failed` */
export async function afterChange(activation: Activation, { changed, added }: UnitChange): Promise<void> {
  const { systemd } = activation;
  await systemd.daemonReload();
  await systemd.stopUnits(changed);
  await systemd.startUnits([...changed, ...added]);
  await watch(activation, [...changed, ...added]);
}

/** Before what was installed is taken back. What fails here must not keep the files from coming back. */
export async function beforeReturn({ systemd }: Activation, { changed, added }: UnitChange): Promise<void> {
  await systemd.stopUnits([...changed, ...added]).catch(() => undefined);
}

/** After it was taken back. */
export async function afterReturn({ systemd }: Activation, { changed, gone }: UnitChange): Promise<void> {
  await systemd.daemonReload();
  await systemd.startUnits([...changed, ...gone]);
}
