// `mosctl activate`: what the current generation says, once more.
import { buildCommand } from "@stricli/core";
import type { ActivateResult } from "../../agent/activate.ts";
import { requestActivate } from "../../agent/client.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { problemText } from "./problem.ts";
import { serviceArgument } from "./service-name.ts";

interface ActivateFlags extends JsonFlag {
  readonly target?: string;
}

async function runActivate(service: string | undefined): Promise<ActivateResult> {
  const answer = await requestActivate(service);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { activate }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/activate.ts"),
  ]);
  return await activate(deviceContext(), service);
}

export const activateCommand = withExamples(
  buildCommand<ActivateFlags, [], CliContext>({
    docs: {
      brief: "Bring the services to what the current generation says",
      fullDescription: `As at a boot: the manifest and the images are verified again, units that are missing or different are written, and
what is down is started. What runs as it should is not touched. With --target only that service counts, and it is started
also when it had failed too often. No network is needed. Exits with 8 when a service does not come up. Root only.`,
    },
    parameters: {
      flags: {
        target: { ...serviceArgument, kind: "parsed", brief: "Only this service", optional: true },
        json: jsonFlag,
      },
      aliases: { t: "target" },
    },
    async func({ target, json }) {
      const { stdout } = this.terminal;
      const result = await runActivate(target);
      if (result.unwell.length > 0) this.outcome.exitCode = exitCodes.unhealthy;
      if (json) return stdout.write(jsonText(result));
      stdout.write(
        result.changed
          ? `Generation ${result.generation} is active.\n`
          : `Nothing to do: generation ${result.generation} is active.\n`,
      );
      for (const { service, error } of result.unwell)
        stdout.write(`\n${problemText(stdout, service, error)}`);
    },
  }),
  [
    ["mosctl activate", "everything"],
    ["mosctl activate -t zot", "one service"],
  ],
);
