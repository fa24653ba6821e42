// What mosctl update --dry-run prints: what would come, change, go and stay.
import type { UpdatePlan } from "../../agent/dry-run.ts";
import type { FieldChange } from "../../generation/manifest-diff.ts";
import { formatBytes } from "../../system/quantity.ts";
import { escapeControls, keyValues, type Look, paint } from "../output.ts";
import type { OutputStream } from "../terminal.ts";

function changeText({ field, before, after }: FieldChange): string {
  return `${field}: ${before ?? "none"} → ${after ?? "none"}`;
}

/** A plan for a person. */
export function planText(stdout: OutputStream, plan: UpdatePlan): string {
  const { comparison, fetch } = plan;
  if (plan.isCurrent && fetch.layers === 0) return "Nothing to do: this manifest is the one that runs.\n";
  const line = (look: Look, sign: string, name: string, more = "") =>
    `${paint(stdout, look, `${sign} ${escapeControls(name)}`)}${more}\n`;
  const changes = (fields: readonly FieldChange[]) =>
    fields.map((field) => `\n    ${escapeControls(changeText(field))}`).join("");
  const lines = [
    ...comparison.added.map((name) => line("green", "+", name, "  is added")),
    ...comparison.changed.map(({ service, fields }) =>
      line("yellow", "~", service, `  is replaced and restarted${changes(fields)}`),
    ),
    ...comparison.removed.map((name) => line("red", "-", name, "  is stopped and removed")),
    ...comparison.kept.map((name) => line("dim", "=", name, "  runs on")),
    ...comparison.volumes.added.map((name) => line("green", "+", `volume ${name}`)),
    ...comparison.volumes.changed.map(({ volume, fields }) =>
      line("yellow", "~", `volume ${volume}`, changes(fields)),
    ),
    ...comparison.volumes.removed.map((name) => line("red", "-", `volume ${name}`, "  is not used any more")),
  ];
  const head = keyValues(stdout, [
    ["manifest", `${plan.manifestDigest} (${plan.updateType})`],
    [
      "to fetch",
      fetch.layers === 0 ? "nothing" : `${fetch.layers} layers, at most ${formatBytes(fetch.bytes)}`,
    ],
    ["reboot", plan.needsReboot ? "needed: what the device boots from changes" : "not needed"],
    ["release", comparison.release.length === 0 ? undefined : comparison.release.map(changeText).join(", ")],
  ]);
  return `${head}\n${lines.join("")}\nNothing was changed (--dry-run).\n`;
}
