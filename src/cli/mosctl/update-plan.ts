// What mosctl update --dry-run prints: what would come, change, go and stay.
import type { UpdatePlan } from "../../agent/dry-run.ts";
import { formatBytes } from "../../system/quantity.ts";
import { keyValues } from "../output.ts";
import type { OutputStream } from "../terminal.ts";
import { changeText, comparisonText } from "./comparison-text.ts";

/** A plan for a person. */
export function planText(stdout: OutputStream, plan: UpdatePlan): string {
  const { comparison, fetch } = plan;
  if (plan.isCurrent && fetch.layers === 0) return "Nothing to do: this manifest is the one that runs.\n";
  const lines = comparisonText(stdout, comparison, {
    added: "is added",
    changed: "is replaced and restarted",
    removed: "is stopped and removed",
    kept: "runs on",
  });
  const head = keyValues(stdout, [
    ["manifest", `${plan.manifestDigest} (${plan.updateType})`],
    [
      "to fetch",
      fetch.layers === 0 ? "nothing" : `${fetch.layers} layers, at most ${formatBytes(fetch.bytes)}`,
    ],
    ["reboot", plan.needsReboot ? "needed: what the device boots from changes" : "not needed"],
    ["release", comparison.release.length === 0 ? undefined : comparison.release.map(changeText).join(", ")],
  ]);
  return `${head}\n${lines}\nNothing was changed (--dry-run).\n`;
}
