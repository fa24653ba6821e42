// `mosctl update REF`: moves the device to a manifest.
import { isAbsolute, resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import {
  requestPlan,
  requestUnattended,
  requestUpdate,
  requestUpdateBegin,
  type UpdateRequest,
} from "../../agent/client.ts";
import type { AgentContext } from "../../agent/context.ts";
import type { UpdatePlan } from "../../agent/dry-run.ts";
import type { Progress as AgentProgress, ProgressEvent } from "../../agent/progress.ts";
import type { OperationInfo, OperationRequest } from "../../agent/running-operation.ts";
import type { UnattendedResult } from "../../agent/unattended.ts";
import type { UpdateOptions, UpdateResult } from "../../agent/update.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { MosError } from "../../errors/mos-error.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { escapeControls, jsonText, keyValues } from "../output.ts";
import { startProgress } from "../progress.ts";
import type { OutputStream } from "../terminal.ts";
import { problemText } from "./problem.ts";
import { readStatus } from "./read-status.ts";
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
  readonly wait?: boolean;
  readonly waitLock?: number;
  readonly whenIdle?: boolean;
  readonly unattended?: boolean;
  readonly reboot?: boolean;
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

/** Does the work in this process, where no agent runs. Ctrl-C cancels it, as long as that can be done. */
async function runHere<T>(
  request: OperationRequest,
  work: (context: AgentContext, progress: AgentProgress, signal: AbortSignal) => Promise<T>,
  onProgress: AgentProgress,
): Promise<T> {
  const [{ deviceContext }, { Operations }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/running-operation.ts"),
  ]);
  const operations = new Operations(() => undefined);
  const cancel = () => void operations.cancel().catch(() => undefined);
  process.on("SIGINT", cancel);
  try {
    return await operations.run(
      request,
      (progress, signal) => work(deviceContext(), progress, signal),
      onProgress,
    );
  } finally {
    process.off("SIGINT", cancel);
  }
}

/** By the agent, or in this process where none runs. @throws MosError of the update */
export async function runUpdate(asked: UpdateRequest, onProgress: AgentProgress): Promise<UpdateResult> {
  const answer = await requestUpdate(asked, onProgress);
  if (answer !== undefined) return answer;
  const { requestedUpdate } = await import("../../agent/requested-update.ts");
  const request = { purpose: `update to ${asked.reference}`, waitMs: asked.waitSeconds * 1000 };
  return await runHere(request, (context, ...rest) => requestedUpdate(context, asked, ...rest), onProgress);
}

async function runUnattended(onProgress: AgentProgress): Promise<UnattendedResult> {
  const answer = await requestUnattended(onProgress);
  if (answer !== undefined) return answer;
  const { unattendedUpdate } = await import("../../agent/unattended.ts");
  const request = { purpose: "unattended update", waitMs: 0 };
  return await runHere(
    request,
    (context, ...rest) => unattendedUpdate(context, new Date(), ...rest),
    onProgress,
  );
}

/** What is waited for, beside the step. */
export function stepText(step: string, event: ProgressEvent): string {
  if (event.kind === "held") return `waiting: ${event.by}`;
  if (event.kind !== "waiting" || event.services.length === 0) return step;
  return `${step}: waiting for ${event.services.slice(0, 3).join(", ")}${event.services.length > 3 ? ", …" : ""}`;
}

/** Seconds that `--wait` waits for another operation when `--wait-lock` says nothing else. */
const defaultWaitSeconds = 3600;

function parseSeconds(input: string): number {
  if (/^[0-9]{1,6}$/.test(input) && Number(input) <= 7 * 24 * 3600) return Number(input);
  throw new SyntaxError("must be whole seconds, at most a week (604800)");
}

function waitSecondsOf({ wait, waitLock }: UpdateFlags): number {
  return waitLock ?? (wait === true ? defaultWaitSeconds : 0);
}

async function begin(asked: UpdateRequest): Promise<{ readonly accepted: OperationInfo }> {
  const answer = await requestUpdateBegin(asked);
  if (answer !== undefined) return answer;
  throw new MosError("usage", "cannot leave the update to mosd: it does not run", {
    hint: "systemctl start mosd.socket, or leave --no-wait out.",
  });
}

const outcomes: Readonly<Record<UpdateResult["outcome"], string>> = {
  updated: "Updated.",
  unchanged: "Nothing to do: this manifest is the one that runs.",
  repaired: "Repaired: this manifest was current, but not all of it was in place.",
  "awaits-reboot":
    "Stored and verified. It has another kernel and root, and runs once the device was started anew.",
};

/** Follows an operation with a bar. */
async function following<T>(
  { terminal }: CliContext,
  flags: UpdateFlags,
  work: (onProgress: AgentProgress) => Promise<T>,
): Promise<T> {
  const progress = startProgress(terminal, { what: "updating", unit: "bytes", json: flags.json === true });
  let step = "";
  try {
    return await work((event) => {
      if (event.kind === "step") step = event.step;
      if (event.kind === "bytes") progress.update(event.done, event.total, step);
      else progress.update(0, undefined, stepText(step, event));
    });
  } finally {
    progress.stop();
  }
}

function nextText(outcome: UpdateResult["outcome"]): string {
  switch (outcome) {
    case "unchanged":
      return "";
    case "awaits-reboot":
      return "\nNext: mosctl update --reboot\n";
    default:
      return "\nNext: mosctl status\n";
  }
}

/** Starts the device anew for what waits for it. @throws MosError `usage` when nothing does */
async function rebootWaiting({ stdout }: CliContext["terminal"], json: boolean): Promise<void> {
  const { rebootNeeded, transaction } = await readStatus();
  if (rebootNeeded === undefined || transaction === undefined)
    throw new MosError("usage", "cannot start the device anew: no update waits for it");
  await startAnew();
  const generation = transaction.to;
  stdout.write(
    json
      ? jsonText({ outcome: "rebooting", generation })
      : `The device starts anew, for generation ${generation}.\n`,
  );
}

async function startAnew(): Promise<void> {
  const { systemd } = await import("../../systemd/manager.ts");
  await systemd.reboot();
}

function resultText(stdout: OutputStream, result: UpdateResult): string {
  const { rolloutIgnored } = result;
  return [
    `${outcomes[result.outcome]}\n\n`,
    keyValues(stdout, [
      ["generation", String(result.generation)],
      ["manifest", result.manifestDigest],
      ["fetched", formatBytes(result.fetchedBytes)],
      ["restarted", result.restarted.length === 0 ? undefined : result.restarted.join(", ")],
      [
        "rollout",
        rolloutIgnored === undefined
          ? undefined
          : `not asked, because you did: it has reached ${rolloutIgnored} % of all devices`,
      ],
    ]),
    ...result.unwell.map(({ service, error }) => `\n${problemText(stdout, service, error)}`),
    nextText(result.outcome),
  ].join("");
}

async function updateUnattended(
  context: CliContext,
  flags: UpdateFlags,
  reference: string | undefined,
): Promise<void> {
  const { stdout } = context.terminal;
  const { allowOlder, retry, dryRun, whenIdle, wait, waitLock, reboot } = flags;
  const others = [allowOlder, retry, dryRun, whenIdle, wait, waitLock, reboot];
  if (reference !== undefined || others.some((flag) => flag !== undefined)) {
    throw new MosError(
      "usage",
      "cannot update unattended with anything else: /etc/mos/update.json says it all",
    );
  }
  const result = await following(context, flags, runUnattended);
  if (flags.json) return stdout.write(jsonText(result));
  if (result.outcome === "skipped") {
    const next = result.next === undefined ? "" : `\nNext time at ${result.next}.`;
    return stdout.write(`No update now: ${escapeControls(result.why)}.${next}\n`);
  }
  if (result.unwell.length > 0) context.outcome.exitCode = exitCodes.unhealthy;
  stdout.write(resultText(stdout, result));
}

export const updateCommand = withExamples(
  buildCommand<UpdateFlags, [string | undefined], CliContext>({
    docs: {
      brief: "Fetch, verify, store and activate a manifest",
      fullDescription: `Nothing on the device changes before the signature, its chain, and every digest and size hold. Services that
did not change are not restarted. The new generation stays only when its services become well; else what ran before
runs again, and the manifest is not tried again unless --retry says so. A new kernel and root (targets bootkit and
hostfs) wait for the device to be started anew; the services that run are not touched before. A release that is older than the one that
runs is refused, unless --allow-older says that going back is what you want; a lower epoch is refused for ever.

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
        wait: {
          kind: "boolean",
          brief: "Wait for another operation to end first; or do not wait for this one at all",
          optional: true,
        },
        waitLock: {
          kind: "parsed",
          brief: "How long to wait for another operation",
          placeholder: "SECONDS",
          parse: parseSeconds,
          optional: true,
        },
        whenIdle: {
          kind: "boolean",
          brief: "Fetch now, and change services once nothing is in /run/mos/busy.d",
          optional: true,
          withNegated: false,
        },
        unattended: {
          kind: "boolean",
          brief: "Update from the channel of /etc/mos/update.json, if this is the time for it",
          optional: true,
          withNegated: false,
        },
        reboot: {
          kind: "boolean",
          brief: "Start the device anew if that is needed; without REF, for an update that waits for it",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [
          { brief: "the manifest", placeholder: "REF", parse: (input: string) => input, optional: true },
        ],
      },
    },
    async func(flags, reference) {
      const { stdout } = this.terminal;
      if (flags.unattended === true) return await updateUnattended(this, flags, reference);
      if (reference === undefined && flags.reboot === true)
        return await rebootWaiting(this.terminal, flags.json === true);
      if (reference === undefined) throw new MosError("usage", "cannot update: REF is missing");
      const options = { allowOlder: flags.allowOlder === true, retry: flags.retry === true };
      if (flags.dryRun) {
        const planned = await plan(absoluteReference(reference), options);
        return stdout.write(flags.json ? jsonText(planned) : planText(stdout, planned));
      }
      const asked = {
        ...{ reference: absoluteReference(reference), ...options },
        ...{ whenIdle: flags.whenIdle === true, waitSeconds: waitSecondsOf(flags) },
      };
      if (flags.wait === false) {
        const begun = await begin(asked);
        const text = `Begun: ${escapeControls(begun.accepted.purpose)}.\n\nNext: mosctl status, mosctl cancel\n`;
        return stdout.write(flags.json ? jsonText(begun) : text);
      }
      const result = await following(this, flags, (onProgress) => runUpdate(asked, onProgress));
      if (result.unwell.length > 0) this.outcome.exitCode = exitCodes.unhealthy;
      const isRebooting = flags.reboot === true && result.outcome === "awaits-reboot";
      if (isRebooting) await startAnew();
      const restarts = isRebooting ? "\nThe device starts anew.\n" : "";
      stdout.write(flags.json ? jsonText(result) : `${resultText(stdout, result)}${restarts}`);
    },
  }),
  [
    ["mosctl update registry.example.com/machine/install:1.0.0", "from a registry"],
    [
      "mosctl update --dry-run registry.example.com/machine/install:1.1.0",
      "what would change, and what it would fetch",
    ],
    ["mosctl update --reboot", "start the device anew, for the kernel and root that wait for it"],
    ["mosctl update --no-wait REF", "leave it to mosd; mosctl cancel ends it"],
    ["mosctl update oci:/media/usb/zot:1.0.0", "from a directory, without a network"],
    ["mosctl update oci-archive:/media/usb/zot.tar", "from one file, without a network"],
  ],
);
