// `mosctl rollback [N]`: back to a generation that is on the disk.
import { buildCommand } from "@stricli/core";
import { requestRollback } from "../../agent/client.ts";
import type { Progress } from "../../agent/progress.ts";
import type { RollbackResult } from "../../agent/rollback.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { startProgress } from "../progress.ts";
import { parseGeneration } from "./generation-number.ts";
import { problemText } from "./problem.ts";
import { stepText } from "./update.ts";

const outcomes: Readonly<Record<RollbackResult["outcome"], string>> = {
  "rolled-back": "Rolled back.",
  unchanged: "Nothing to do: it runs already.",
  "awaits-reboot":
    "Verified. It has another kernel and root, and runs once the device was started anew: mosctl update --reboot",
};

async function runRollback(generation: number | undefined, progress: Progress): Promise<RollbackResult> {
  const answer = await requestRollback(generation, progress);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { rollback }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/rollback.ts"),
  ]);
  return await rollback(deviceContext(), generation, progress);
}

export const rollbackCommand = withExamples(
  buildCommand<JsonFlag, [number | undefined], CliContext>({
    docs: {
      brief: "Go back to an earlier generation, from what is on the disk",
      fullDescription: `Without a number, to the generation that ran before the current one. It is verified as at a boot, by whom the
device trusts today: there is no way back below the lowest epoch, or to before a change of trust. Services that do
not differ are not restarted. No network is needed.`,
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: {
        kind: "tuple",
        parameters: [
          {
            brief: "the generation (mosctl history)",
            placeholder: "N",
            parse: parseGeneration,
            optional: true,
          },
        ],
      },
    },
    async func(flags, generation) {
      const { stdout } = this.terminal;
      const progress = startProgress(this.terminal, {
        what: "going back",
        unit: "items",
        json: flags.json === true,
      });
      let step = "";
      let result: RollbackResult;
      try {
        result = await runRollback(generation, (event) => {
          if (event.kind === "step") step = event.step;
          progress.update(0, undefined, stepText(step, event));
        });
      } finally {
        progress.stop();
      }
      if (result.unwell.length > 0) this.outcome.exitCode = exitCodes.unhealthy;
      if (flags.json) return stdout.write(jsonText(result));
      const done = outcomes[result.outcome];
      stdout.write(`${done}\n\n`);
      stdout.write(
        keyValues(stdout, [
          [
            "generation",
            `${result.generation}${result.from === undefined ? "" : ` (before ${result.from})`}`,
          ],
          ["manifest", result.manifestDigest],
          ["restarted", result.restarted.length === 0 ? undefined : result.restarted.join(", ")],
        ]),
      );
      for (const { service, error } of result.unwell)
        stdout.write(`\n${problemText(stdout, service, error)}`);
    },
  }),
  [
    ["mosctl rollback", "to the generation before"],
    ["mosctl rollback 7", "to generation 7"],
  ],
);
