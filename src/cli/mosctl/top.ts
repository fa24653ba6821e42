// `mosctl top`: what each service uses up, as its control group counts it.
import { buildCommand } from "@stricli/core";
import { useOfServices } from "../../agent/use.ts";
import { formatBytes } from "../../system/quantity.ts";
import { systemd } from "../../systemd/manager.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, table } from "../output.ts";
import { readStatus } from "./read-status.ts";

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
      const uses = await useOfServices(systemd, names);
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
