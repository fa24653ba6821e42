// `mosctl services`: the services alone, one line each.
import { buildCommand } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, table } from "../output.ts";
import { readStatus } from "./read-status.ts";
import { age, stateLooks } from "./status.ts";

export const servicesCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "List the services of this device",
      fullDescription: "One line each: what `mosctl status` says of services, and nothing else.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      const { services } = await readStatus();
      if (flags.json) return stdout.write(jsonText({ services }));
      if (services.length === 0) return stdout.write("There are no services on this device.\n");
      const rows = services.map(({ name, version, type, state, since, restarts }): Cell[] => [
        ...[name, version, type],
        { text: state, look: stateLooks[state] },
        age(since),
        restarts === 0 ? "" : `${restarts}`,
      ]);
      stdout.write(table(stdout, ["SERVICE", "VERSION", "TYPE", "STATE", "FOR", "RESTARTS"], rows));
    },
  }),
  [
    ["mosctl services", "for people"],
    ["mosctl services --json | jq -r '.services[].name'", "for scripts"],
  ],
);
