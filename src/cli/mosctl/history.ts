// `mosctl history`: the generations on this device.
import { buildCommand } from "@stricli/core";
import { requestHistory } from "../../agent/client.ts";
import type { HistoryEntry } from "../../agent/history.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, table } from "../output.ts";

async function readHistory(): Promise<readonly HistoryEntry[]> {
  const answer = await requestHistory();
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { history }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/history.ts"),
  ]);
  return await history(deviceContext());
}

function row({ number, state, release, acceptedAt, reference, error }: HistoryEntry): readonly Cell[] {
  return [
    { text: `${state === "current" ? "●" : " "} ${number}`, look: state === "current" ? "green" : "dim" },
    state,
    release === undefined ? "" : `serial ${release.serial}, epoch ${release.epoch}`,
    acceptedAt ?? "",
    reference ?? "",
    error === undefined ? { text: "yes", look: "green" } : { text: `no: ${error.code}`, look: "red" },
  ];
}

export const historyCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "List the generations on this device",
      fullDescription:
        "The newest first, with what each was applied from and whether the device would go back to it. Root only.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      const entries = await readHistory();
      if (flags.json) return stdout.write(jsonText(entries));
      if (entries.length === 0) return stdout.write("No manifest has been applied on this device yet.\n");
      stdout.write(
        table(stdout, ["GENERATION", "STATE", "RELEASE", "ACCEPTED", "FROM", "GOES BACK"], entries.map(row)),
      );
    },
  }),
  [["mosctl history", "before a mosctl rollback N"]],
);
