// `mosctl cancel`: ends what runs on the device, while nothing of the device has changed.
import { buildCommand } from "@stricli/core";
import { requestCancel } from "../../agent/client.ts";
import { MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { escapeControls, jsonText } from "../output.ts";

export const cancelCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "Cancel the update that runs",
      fullDescription: `Up to the point at which the new generation is brought up; then the device goes on to the end, or back by itself.
What was fetched is kept for the next attempt. Root only.`,
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      const answer = await requestCancel();
      if (answer === undefined) throw new MosError("nothing-running", "cannot cancel: mosd does not run");
      const { purpose, step } = answer.cancelled;
      const at = step === undefined ? "" : ` at the step "${step}"`;
      stdout.write(
        flags.json
          ? jsonText(answer)
          : `Cancelled: ${escapeControls(purpose)}${at}. What was fetched is kept.\n`,
      );
    },
  }),
  [["mosctl cancel", "what mosctl update --no-wait has begun, for example"]],
);
