// `mosctl logs`: what a service wrote, from the journal.
import { buildCommand } from "@stricli/core";
import { knownUnit } from "../../agent/service-action.ts";
import { runAttached } from "../../system/process.ts";
import { systemd } from "../../systemd/manager.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { serviceArgument } from "./service-name.ts";

interface LogsFlags extends JsonFlag {
  readonly follow?: boolean;
  readonly since?: string;
  readonly lines?: number;
}

function lineCount(input: string): number {
  if (/^[1-9][0-9]{0,6}$/.test(input)) return Number(input);
  throw new SyntaxError("must be a number above 0");
}

export const logsCommand = withExamples(
  buildCommand<LogsFlags, [string], CliContext>({
    docs: {
      brief: "Show what a service wrote",
      fullDescription: `Everything of this boot, oldest first, from the journal; with --json one JSON document per entry, as journalctl has
them. Whoever may read the journal may use it.`,
    },
    parameters: {
      flags: {
        follow: { kind: "boolean", brief: "Go on with what comes", optional: true, withNegated: false },
        since: {
          kind: "parsed",
          brief: "Only from this time on, as journalctl(1) takes it",
          placeholder: "TIME",
          optional: true,
          parse: (input: string) => input,
        },
        lines: {
          kind: "parsed",
          brief: "Only the last N entries",
          placeholder: "N",
          optional: true,
          parse: lineCount,
        },
        json: jsonFlag,
      },
      aliases: { f: "follow", n: "lines" },
      positional: { kind: "tuple", parameters: [serviceArgument] },
    },
    async func(flags, service) {
      const unit = await knownUnit(systemd, service);
      this.outcome.exitCode = await runAttached("journalctl", [
        ...["--boot", "--no-pager", "--quiet", `--unit=${unit}`],
        `--output=${flags.json === true ? "json" : "short-iso"}`,
        ...(flags.follow === true ? ["--follow"] : []),
        ...(flags.since === undefined ? [] : [`--since=${flags.since}`]),
        ...(flags.lines === undefined ? [] : [`--lines=${flags.lines}`]),
      ]);
    },
  }),
  [
    ["mosctl logs zot", "everything of this boot"],
    ["mosctl logs -f --since -10min zot", "the last ten minutes, and what comes"],
  ],
);
