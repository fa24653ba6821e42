// `mosctl top`: what each service uses up, as its control group counts it.
import { buildCommand } from "@stricli/core";
import { serviceUnit } from "../../services/unit-names.ts";
import { formatBytes } from "../../system/quantity.ts";
import { systemd, type UnitProperties } from "../../systemd/manager.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, table } from "../output.ts";
import { readStatus } from "./read-status.ts";

/** What systemd has a number for; it prints `[not set]`, `infinity` or 2^64 - 1 where it has none. */
function numberOf(text: string | undefined): number | undefined {
  const value = /^[0-9]+$/.test(text ?? "") ? Number(text) : Number.NaN;
  return value < Number.MAX_SAFE_INTEGER ? value : undefined;
}

interface Use {
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

function bytes(count: number | undefined): string {
  return count === undefined ? "" : formatBytes(count);
}

export const topCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "Show what each service uses up",
      fullDescription:
        "Memory, processor time and tasks of each service now, the largest first. Use systemd-cgtop to watch.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      const { services } = await readStatus();
      const names = services.filter(({ type }) => type === "container").map(({ name }) => name);
      const asked = ["Id", "MemoryCurrent", "MemoryMax", "CPUUsageNSec", "TasksCurrent"];
      const shown = await systemd.showUnits(names.map(serviceUnit), asked);
      const units = new Map(shown.map((unit) => [unit["Id"] ?? "", unit]));
      const uses = names
        .map((name) => useOf(name, units.get(serviceUnit(name))))
        .sort((a, b) => (b.memory ?? 0) - (a.memory ?? 0));
      if (flags.json) return stdout.write(jsonText({ services: uses }));
      if (uses.length === 0) return stdout.write("No services run on this device.\n");
      const rows = uses.map(({ service, memory, memoryLimit, cpuSeconds, tasks }): Cell[] => [
        ...[service, bytes(memory), bytes(memoryLimit)],
        ...[
          cpuSeconds === undefined ? "" : `${cpuSeconds.toFixed(1)} s`,
          tasks === undefined ? "" : `${tasks}`,
        ],
      ]);
      stdout.write(table(stdout, ["SERVICE", "MEMORY", "OF AT MOST", "CPU", "TASKS"], rows));
    },
  }),
  [["mosctl top", "who uses the memory"]],
);
