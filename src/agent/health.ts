// Watches the services of a new generation until the health gate has a verdict.
import {
  type Accounts,
  type GatedService,
  judgeHealth,
  type Observation,
  observe,
  unhealthyReason,
} from "../generation/gate.ts";
import type { TransactionEvent } from "../generation/transaction.ts";
import { defaultGate } from "../manifest/health-schema.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import { isBootTarget } from "../services/render.ts";
import { type Places, rootUnit, serviceUnit } from "../services/unit-names.ts";
import type { UnitProperties } from "../systemd/manager.ts";
import type { AgentContext } from "./context.ts";
import { type ProbeOutcome, probe } from "./probe.ts";
import type { Progress } from "./progress.ts";
import { unwellServices } from "./status.ts";

/** Milliseconds between two looks at systemd. */
const lookMs = 500;

function unitOf({ service_name, service_type }: Target, places: Places): string {
  return service_type === "container" ? serviceUnit(service_name) : rootUnit(places, service_name);
}

function stateOf(unit: UnitProperties | undefined): Observation["state"] {
  switch (unit?.["ActiveState"]) {
    case "active":
    case "reloading":
      return "up";
    case "activating":
      return "starting";
    case "failed":
      return "failed";
    default:
      return "down";
  }
}

/** Attempts that run beside the looking, one at a time for each service. */
class Attempts {
  private readonly running = new Map<string, Promise<void>>();
  private readonly ended = new Map<string, ProbeOutcome>();
  private readonly due = new Map<string, number>();

  /** The outcome since the last call; begins the next attempt when it is time. */
  take(target: Target, controlGroup: string, now: number): ProbeOutcome | undefined {
    const { service_name: name, health } = target;
    if (health === undefined || (health.http === undefined && health.tcp === undefined)) return undefined;
    const outcome = this.ended.get(name);
    this.ended.delete(name);
    if (!this.running.has(name) && now >= (this.due.get(name) ?? 0)) {
      this.due.set(name, now + health.interval * 1000);
      const attempt = probe(target, health, controlGroup).then((result) => {
        this.ended.set(name, result);
        this.running.delete(name);
      });
      this.running.set(name, attempt);
    }
    return outcome;
  }
}

async function look(
  targets: readonly Target[],
  { places, systemd, clock }: AgentContext,
  attempts: Attempts,
): Promise<ReadonlyMap<string, Observation>> {
  const names = targets.map((target) => unitOf(target, places));
  const shown = await systemd.showUnits(names, ["Id", "ActiveState", "NRestarts", "ControlGroup"]);
  const units = new Map(shown.map((unit) => [unit["Id"] ?? "", unit]));
  const now = clock.now();
  return new Map(
    targets.map((target) => {
      const unit = units.get(unitOf(target, places));
      const state = stateOf(unit);
      const outcome = state === "up" ? attempts.take(target, unit?.["ControlGroup"] ?? "", now) : undefined;
      const restarts = Number(unit?.["NRestarts"] ?? 0) || 0;
      return [target.service_name, { state, restarts, probe: outcome }] as const;
    }),
  );
}

/** Services that have to be well, and are not excused. */
function gated(manifest: InstallManifest, excused: readonly string[]): Target[] {
  return manifest.targets.filter(
    (target) =>
      !isBootTarget(target) && target.health?.required !== false && !excused.includes(target.service_name),
  );
}

/**
 * Watches until the gate passes or not.
 * @param excused services that do not count
 * @throws MosError `systemd-failed` when systemd cannot be asked
 */
export async function watchHealth(
  context: AgentContext,
  manifest: InstallManifest,
  excused: readonly string[],
  progress: Progress,
): Promise<Extract<TransactionEvent, { kind: "healthy" | "unhealthy" }>> {
  const targets = gated(manifest, excused);
  const services = targets.map(({ service_name, health }): GatedService => ({ name: service_name, health }));
  const gate = manifest.health ?? defaultGate;
  const attempts = new Attempts();
  const { clock } = context;
  const begun = clock.now();
  let accounts: Accounts = new Map();
  for (;;) {
    const seen = await look(targets, context, attempts);
    const now = clock.now();
    accounts = observe(accounts, services, seen, now);
    const verdict = judgeHealth(accounts, services, gate, begun, now);
    if (verdict.kind === "healthy") return { kind: "healthy" };
    if (verdict.kind === "unhealthy") {
      return { kind: "unhealthy", reason: unhealthyReason(await explained(context, verdict.services)) };
    }
    progress({ kind: "waiting", services: verdict.pending });
    await clock.sleep(lookMs);
  }
}

/** With what systemd, the kernel and the log say of each, before it is taken down. */
async function explained(
  context: AgentContext,
  services: readonly { readonly name: string; readonly why: string }[],
): Promise<readonly { readonly name: string; readonly why: string }[]> {
  const unwell = await unwellServices(context).catch(() => []);
  return services.map(({ name, why }) => {
    const known = unwell.find(({ service }) => service === name)?.error.message;
    return { name, why: known === undefined ? why : `${why} (${known})` };
  });
}
