// `mosctl update REF`: moves the device to a manifest.
import { isAbsolute, resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import { requestPlan, requestUpdate } from "../../agent/client.ts";
import type { UpdatePlan } from "../../agent/dry-run.ts";
import type { ProgressEvent } from "../../agent/progress.ts";
import type { UpdateOptions, UpdateResult } from "../../agent/update.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { startProgress } from "../progress.ts";
import { problemText } from "./problem.ts";
import { planText } from "./update-plan.ts";

/** The agent has a working directory of its own: a relative layout or archive is made absolute here. */
export function absoluteReference(reference: string): string {
  const [, kind, path = "", end = ""] = /^(oci|oci-archive):([^:@]+)(.*)$/.exec(reference) ?? [];
  return kind === undefined || isAbsolute(path) ? reference : `${kind}:${resolve(path)}${end}`;
}

interface UpdateFlags extends JsonFlag {
  readonly allowOlder?: boolean;
  readonly retry?: boolean;
  readonly dryRun?: boolean;
}

async function plan(reference: string, options: UpdateOptions): Promise<UpdatePlan> {
  const answer = await requestPlan(reference, options);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { planUpdate }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/dry-run.ts"),
  ]);
  return await planUpdate(deviceContext(), reference, options);
}

async function runUpdate(
  reference: string,
  options: UpdateOptions,
  onProgress: (event: ProgressEvent) => void,
): Promise<UpdateResult> {
  const answer = await requestUpdate(reference, options, onProgress);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { update }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/update.ts"),
  ]);
  return await update(deviceContext(), reference, options, onProgress);
}

/** What is waited for, beside the step. */
export function stepText(step: string, event: ProgressEvent): string {
  if (event.kind !== "waiting" || event.services.length === 0) return step;
  return `${step}: waiting for ${event.services.slice(0, 3).join(", ")}${event.services.length > 3 ? ", …" : ""}`;
}

const outcomes: Readonly<Record<UpdateResult["outcome"], string>> = {
  updated: "Updated.",
  unchanged: "Nothing to do: this manifest is the one that runs.",
  repaired: "Repaired: this manifest was current, but not all of it was in place.",
};

export const updateCommand = withExamples(
  buildCommand<UpdateFlags, [string], CliContext>({
    docs: {
      brief: "Fetch, verify, store and activate a manifest",
      fullDescription: `Nothing on the device changes before the signature, its chain, and every digest and size hold. Services that
did not change are not restarted. The new generation stays only when its services become well; else what ran before
runs again, and the manifest is not tried again unless --retry says so. A release that is older than the one that runs is refused, unless --allow-older
says that going back is what you want; a lower epoch is refused for ever.

REF is HOST[:PORT]/PATH:TAG (https; plain http for this machine itself), http://HOST:PORT/PATH:TAG,
oci:DIR:TAG, or oci-archive:FILE[:TAG], a tar of such a directory.`,
    },
    parameters: {
      flags: {
        allowOlder: {
          kind: "boolean",
          brief: "Go back to an older release of the same epoch",
          optional: true,
          withNegated: false,
        },
        retry: {
          kind: "boolean",
          brief: "Try a manifest once more that failed on this device",
          optional: true,
          withNegated: false,
        },
        dryRun: {
          kind: "boolean",
          brief: "Say what would be done, and change nothing",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "the manifest", placeholder: "REF", parse: (input: string) => input }],
      },
    },
    async func(flags, reference) {
      const { stdout } = this.terminal;
      const options = { allowOlder: flags.allowOlder === true, retry: flags.retry === true };
      if (flags.dryRun) {
        const planned = await plan(absoluteReference(reference), options);
        return stdout.write(flags.json ? jsonText(planned) : planText(stdout, planned));
      }
      const progress = startProgress(this.terminal, {
        what: "updating",
        unit: "bytes",
        json: flags.json === true,
      });
      let step = "";
      let result: UpdateResult;
      try {
        result = await runUpdate(absoluteReference(reference), options, (event) => {
          if (event.kind === "step") step = event.step;
          if (event.kind === "bytes") progress.update(event.done, event.total, step);
          else progress.update(0, undefined, stepText(step, event));
        });
      } finally {
        progress.stop();
      }
      if (result.unwell.length > 0) this.outcome.exitCode = exitCodes.unhealthy;
      if (flags.json) return stdout.write(jsonText(result));
      stdout.write(`${outcomes[result.outcome]}\n\n`);
      stdout.write(
        keyValues(stdout, [
          ["generation", String(result.generation)],
          ["manifest", result.manifestDigest],
          ["fetched", formatBytes(result.fetchedBytes)],
          ["restarted", result.restarted.length === 0 ? undefined : result.restarted.join(", ")],
        ]),
      );
      for (const { service, error } of result.unwell)
        stdout.write(`\n${problemText(stdout, service, error)}`);
      if (result.outcome !== "unchanged") stdout.write("\nNext: mosctl status\n");
    },
  }),
  [
    ["mosctl update registry.example.com/machine/install:1.0.0", "from a registry"],
    [
      "mosctl update --dry-run registry.example.com/machine/install:1.1.0",
      "what would change, and what it would fetch",
    ],
    ["mosctl update oci:/media/usb/zot:1.0.0", "from a directory, without a network"],
    ["mosctl update oci-archive:/media/usb/zot.tar", "from one file, without a network"],
  ],
);
