// `mosctl diff [N] [M]`: what is different between two generations on this device.
import { buildCommand } from "@stricli/core";
import { requestDiff } from "../../agent/client.ts";
import type { GenerationDiff } from "../../agent/diff.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import type { OutputStream } from "../terminal.ts";
import { changeText, comparisonText } from "./comparison-text.ts";
import { parseGeneration } from "./generation-number.ts";

async function readDiff(from: number | undefined, to: number | undefined): Promise<GenerationDiff> {
  const answer = await requestDiff(from, to);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { diff }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/diff.ts"),
  ]);
  return await diff(deviceContext(), from, to);
}

function show(stdout: OutputStream, found: GenerationDiff): string {
  const { from, to, layers, release } = found;
  const total = (part: { readonly layers: number; readonly bytes: number }) =>
    `${part.layers} (${formatBytes(part.bytes)})`;
  const head = keyValues(stdout, [
    ["generations", `${from} → ${to}`],
    ["release", release.length === 0 ? "the same" : release.map(changeText).join(", ")],
    [
      "layers",
      layers === undefined
        ? "not known: the images of one of them are not on this device any more"
        : `${total(layers.shared)} shared, ${total(layers.added)} new, ${total(layers.removed)} gone`,
    ],
  ]);
  const words = { added: "added", changed: "changed", removed: "removed", kept: "the same" };
  return `${head}\n${comparisonText(stdout, found, words)}`;
}

const number = (which: string) => ({
  brief: `a generation (mosctl history); ${which} when left out`,
  parse: parseGeneration,
  optional: true as const,
});

export const diffCommand = withExamples(
  buildCommand<JsonFlag, [number | undefined, number | undefined], CliContext>({
    docs: {
      brief: "Show what is different between two generations",
      fullDescription: `Which services and volumes came, went and changed, and in which fields; what the release says; and how much of
the images both have in common. Without numbers, what the last update changed. Root only.`,
    },
    parameters: {
      flags: { json: jsonFlag },
      positional: {
        kind: "tuple",
        parameters: [
          { ...number("the one before the current one"), placeholder: "N" },
          { ...number("the current one"), placeholder: "M" },
        ],
      },
    },
    async func(flags, from, to) {
      const { stdout } = this.terminal;
      const found = await readDiff(from, to);
      stdout.write(flags.json ? jsonText(found) : show(stdout, found));
    },
  }),
  [
    ["mosctl diff", "what the last update changed"],
    ["mosctl diff 3 7", "from generation 3 to generation 7"],
  ],
);
