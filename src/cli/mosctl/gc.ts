// `mosctl gc`: removes what nobody needs any more.
import { buildCommand } from "@stricli/core";
import { requestGc } from "../../agent/client.ts";
import type { GcResult } from "../../agent/gc.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, escapeControls, jsonText, table } from "../output.ts";
import type { OutputStream } from "../terminal.ts";
import { problemText } from "./problem.ts";

interface GcFlags extends JsonFlag {
  readonly dryRun?: boolean;
}

async function runGc(dryRun: boolean): Promise<GcResult> {
  const answer = await requestGc(dryRun);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { gc }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/gc.ts"),
  ]);
  return await gc(deviceContext(), { dryRun });
}

const reasons = { old: "newer ones are kept", failed: "its trial failed", damaged: "it cannot be read" };

function sumText(items: readonly { readonly bytes: number }[]): string {
  return formatBytes(items.reduce((sum, { bytes }) => sum + bytes, 0));
}

function count({ length }: readonly unknown[], what: string): string {
  return `${length} ${what}${length === 1 ? "" : "s"}`;
}

function rows(result: GcResult): Cell[][] {
  const { blobs, leftovers } = result;
  return [
    ...result.generations.map(({ name, bytes, why }) => [
      `generation ${name}`,
      formatBytes(bytes),
      reasons[why],
    ]),
    ...(blobs.length === 0
      ? []
      : [[`${count(blobs, "blob")} of images`, sumText(blobs), "no kept generation needs them"]]),
    ...(leftovers.length === 0
      ? []
      : [[count(leftovers, "leftover"), sumText(leftovers), "of work that was interrupted"]]),
    ...result.volumes.map((label) => [`volume ${label} in memory`, "", "no service uses it"]),
    ...result.networks.map((name) => [`network ${name}`, "", "no service uses it"]),
    ...result.groups.map((group) => [`uid range of ${group}`, "", "no service and no volume has it"]),
  ];
}

function show(stdout: OutputStream, result: GcResult): string {
  const found = rows(result);
  const blocked =
    result.blockedBy === undefined
      ? ""
      : `Nothing of the images was looked at: what generation ${result.blockedBy} needs cannot be read.\nhint: mosctl update REF repairs it.\n`;
  if (found.length === 0) return blocked === "" ? "Nothing to remove.\n" : blocked;
  const total = formatBytes(result.bytes);
  return [
    table(stdout, [result.dryRun ? "WOULD GO" : "GONE", "BYTES", "WHY"], found),
    `\n${result.dryRun ? `${total} would come free. Nothing was changed (--dry-run).` : `${total} freed.`}\n`,
    `Generations that stay: ${result.kept.length === 0 ? "none" : result.kept.join(", ")}. Persistent volumes are never removed.\n`,
    blocked,
    ...result.problems.map(({ what, error }) => `\n${problemText(stdout, escapeControls(what), error)}`),
  ].join("");
}

export const gcCommand = withExamples(
  buildCommand<GcFlags, [], CliContext>({
    docs: {
      brief: "Remove what no kept generation needs",
      fullDescription: `Keeps the current generation, the one before it, one on trial, and the three newest others that did not fail, with
their images. Everything else in the store goes, and what interrupted work left: partial downloads, networks, volumes
in memory, uid ranges of groups of which nothing is left. A persistent volume is never removed. An update does the same
at its end. Root only.`,
    },
    parameters: {
      flags: {
        dryRun: {
          kind: "boolean",
          brief: "Say what would go, and remove nothing",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
    },
    async func(flags) {
      const { stdout } = this.terminal;
      const result = await runGc(flags.dryRun === true);
      if (result.problems.length > 0) this.outcome.exitCode = exitCodes.failure;
      stdout.write(flags.json ? jsonText(result) : show(stdout, result));
    },
  }),
  [
    ["mosctl gc --dry-run", "what would go"],
    ["mosctl gc", "remove it"],
  ],
);
