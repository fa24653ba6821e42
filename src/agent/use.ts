// What each service uses up, as systemd counts it in the service's control group.
import { serviceUnit } from "../services/unit-names.ts";
import type { ServiceManager, UnitProperties } from "../systemd/manager.ts";

/** What systemd has a number for; it prints `[not set]`, `infinity` or 2^64 - 1 where it has none. */
function numberOf(text: string | undefined): number | undefined {
  const value = /^[0-9]+$/.test(text ?? "") ? Number(text) : Number.NaN;
  return value < Number.MAX_SAFE_INTEGER ? value : undefined;
}

export interface Use {
  readonly service: string;
  /** Bytes. */
  readonly memory?: number;
  readonly memoryLimit?: number;
  /** Seconds of processor time since the service began. */
  readonly cpuSeconds?: number;
  readonly tasks?: number;
}

function useOf(service: string, unit: UnitProperties | undefined): Use {
  const memory = numberOf(unit?.["MemoryCurrent"]);
  const limit = numberOf(unit?.["MemoryMax"]);
  const cpu = numberOf(unit?.["CPUUsageNSec"]);
  const tasks = numberOf(unit?.["TasksCurrent"]);
  return {
    service,
    ...(memory === undefined ? {} : { memory }),
    ...(limit === undefined ? {} : { memoryLimit: limit }),
    ...(cpu === undefined ? {} : { cpuSeconds: cpu / 1e9 }),
    ...(tasks === undefined ? {} : { tasks }),
  };
}

/** Of these services, that with the most memory first. @throws MosError `systemd-failed` */
export async function useOfServices(systemd: ServiceManager, services: readonly string[]): Promise<Use[]> {
  const asked = ["Id", "MemoryCurrent", "MemoryMax", "CPUUsageNSec", "TasksCurrent"];
  const shown = await systemd.showUnits(services.map(serviceUnit), asked);
  const units = new Map(shown.map((unit) => [unit["Id"] ?? "", unit]));
  return services
    .map((name) => useOf(name, units.get(serviceUnit(name))))
    .sort((a, b) => (b.memory ?? 0) - (a.memory ?? 0));
}
