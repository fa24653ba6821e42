// `mosctl status`: what runs here, who vouches for it, and why something is not right.
import { buildCommand } from "@stricli/core";
import type { ServiceState, ServiceStatus, Status } from "../../agent/status-model.ts";
import { exitCodes } from "../../errors/catalogue.ts";
import { formatDuration } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, escapeControls, jsonText, keyValues, type Look, paint, table } from "../output.ts";
import { releaseText } from "../release-text.ts";
import type { OutputStream } from "../terminal.ts";
import { bootText, filesText, setTexts } from "./boot-text.ts";
import { problemText } from "./problem.ts";
import { readStatus } from "./read-status.ts";

/** Exit code of a status: 0 when all is well or on its way. */
function exitCodeOf({ health }: Status): number {
  switch (health) {
    case "ok":
    case "starting":
    case "none":
      return 0;
    case "degraded":
      return exitCodes.unhealthy;
    case "refused":
      return exitCodes.refused;
  }
}

const healthLooks: Readonly<Record<Status["health"], Look>> = {
  ok: "green",
  starting: "yellow",
  none: "dim",
  degraded: "red",
  refused: "red",
};

export const stateLooks: Readonly<Record<ServiceState, Look>> = {
  running: "green",
  mounted: "green",
  starting: "yellow",
  stopping: "yellow",
  restarting: "yellow",
  stopped: "red",
  failed: "red",
  refused: "red",
};

function ids({ ids: range, idsInEffect, type }: ServiceStatus): Cell {
  if (range === undefined) return type === "container" ? { text: "host ids", look: "yellow" } : "host ids";
  const text = `${range.first}-${range.last}`;
  return idsInEffect === "different" ? { text: `${text} (not in effect)`, look: "red" } : text;
}

function layers({ layers: all }: ServiceStatus): Cell {
  if (all.length === 0) return "";
  const corrupt = all.filter(({ state }) => state === "corrupt").length;
  const open = all.filter(({ state }) => state === "verified").length;
  if (corrupt > 0) return { text: `${corrupt} of ${all.length} corrupt`, look: "red" };
  return open === all.length ? `${open} verified` : `${open} of ${all.length} open`;
}

export function age(since: string | undefined): string {
  return since === undefined ? "" : formatDuration(Math.max(0, Date.now() - Date.parse(since)));
}

function memoryText({ memory, lowestEpoch, records }: NonNullable<Status["trust"]>): string {
  const where =
    memory === "tpm" ? "kept by the TPM" : "kept in a file, which somebody with the disk can change";
  const changes = records === 0 ? "" : `, ${records} change${records === 1 ? "" : "s"} of trust`;
  return `not below epoch ${lowestEpoch}${changes} (${where})`;
}

function systemText({ system }: Status): string | undefined {
  if (system === undefined) return undefined;
  const { rootHash, hostfs, layers } = system;
  const short = (hash: string): string => `${hash.slice(0, 16)}…`;
  if (layers !== undefined)
    return `root of ${layers.length} layers, the lowest first: ${layers.map((one) => short(one.rootHash)).join(", ")}`;
  return `root ${short(rootHash)}, ${hostfs === undefined ? "in a partition" : `the layer ${hostfs}`}`;
}

/** What is done where nothing can be verified. */
function recoveryText({ recovery, health }: Status): string {
  if (health !== "refused") return "";
  const where = "Attach a medium with the label MOS-RECOVER and a release, or: mosctl update REF";
  if (recovery === undefined) return `\n${where}\n`;
  const tried = recovery.attempts.map(({ what, message }) => `  ${what}: ${escapeControls(message)}\n`);
  const what = tried.length === 0 ? "there was nothing to try" : `\n${tried.join("").trimEnd()}`;
  return `\nLooked for a release that can be verified, ${age(recovery.at)} ago: ${what}\n${where}\n`;
}

/** What is not about a service: what is being done, a transaction under way, a manifest that failed, damage. */
function notesText(stdout: OutputStream, { operation, transaction, failures, damage }: Status): string {
  const lines: string[] = [];
  if (operation !== undefined) {
    const { purpose, since, step, canCancel } = operation;
    const at = step === undefined ? "" : `, now: ${step}`;
    const end = canCancel ? "; mosctl cancel ends it" : "";
    lines.push(paint(stdout, "yellow", `${escapeControls(purpose)}, for ${age(since)}${at}${end}`));
  }
  if (transaction !== undefined) {
    const { kind, from, to, phase, triesLeft } = transaction;
    const before = from === undefined ? "nothing" : `generation ${from}`;
    const what =
      phase === "revert"
        ? `going back to ${before}, because generation ${to} failed`
        : phase === "reboot"
          ? `reboot needed: generation ${to} has another kernel and root (mosctl update --reboot); ${before} runs until then`
          : `${kind} to generation ${to} on trial; ${before} runs again if it is not healthy (${triesLeft} more tries)`;
    lines.push(paint(stdout, "yellow", what));
  }
  const [last] = failures ?? [];
  if (last !== undefined) {
    lines.push(
      `${paint(stdout, "yellow", `generation ${last.generation} was given up at ${last.at}`)}\n` +
        `  ${escapeControls(last.message)}\n  manifest: ${last.manifestDigest}\n` +
        "  It is not tried again before mosctl update --retry REF.",
    );
  }
  const damaged = (damage ?? []).map((error) => {
    // The root that runs cannot be done without.
    const name = error.code === "layer-corrupt" ? "damaged" : "done without";
    return problemText(stdout, name, error).trimEnd();
  });
  return [...lines, ...damaged].map((text) => `\n${text}\n`).join("");
}

function show(stdout: OutputStream, status: Status): string {
  const { generation, trust, services } = status;
  const notes = notesText(stdout, status);
  const health = paint(stdout, healthLooks[status.health], `● ${status.health}`);
  if (generation === undefined || trust === undefined) {
    const text =
      status.error === undefined
        ? "No manifest has been applied on this device yet.\n\nNext: mosctl update REF\n"
        : problemText(stdout, "manifest", status.error);
    const boot = bootText(status.boot);
    const lines: [string, string | undefined][] = [
      ["boot", boot],
      ["signed files", filesText(status.boot?.files)],
      ...setTexts(status),
    ];
    const began = boot === undefined && status.sets === undefined ? "" : `\n${keyValues(stdout, lines)}`;
    return `${health}\n\n${text}${began}${recoveryText(status)}${notes}`;
  }
  const head = keyValues(stdout, [
    [
      "generation",
      `${generation.number}${generation.previous === undefined ? "" : ` (before it ${generation.previous})`}`,
    ],
    ["product", generation.product],
    ["manifest", generation.manifestDigest],
    ["from", generation.reference],
    ["accepted", generation.acceptedAt],
    ["release", generation.release === undefined ? undefined : releaseText(generation.release)],
    ...trust.signers.flatMap((signer): [string, string][] => [
      ["signed by", `${signer.subject} (${signer.algorithm})`],
      ["vouched for by", `${signer.anchorSubject} (${signer.anchor})`],
    ]),
    [
      "policy",
      `${trust.policy}; ${trust.product === undefined ? "this device is bound to no product" : `product by ${trust.product.source}`}`,
    ],
    ["going back", memoryText(trust)],
    ["Secure Boot", `${trust.secureBoot.state}: ${trust.secureBoot.why}`],
    ["boot", bootText(status.boot)],
    ["signed files", filesText(status.boot?.files)],
    ...setTexts(status),
    ["system", systemText(status)],
    ["checked", "signatures and chains; content block by block as it is read"],
  ]);
  const rows = services.map((service): Cell[] => [
    service.name,
    service.version,
    { text: service.state, look: stateLooks[service.state] },
    age(service.since),
    layers(service),
    ids(service),
    service.path ??
      [service.network, ...service.ports.map(({ host, container }) => `${host}→${container}`)].join(" "),
    service.restarts === 0 ? "" : `${service.restarts}`,
  ]);
  const loosened = services.flatMap(({ name, loosened: all = [] }) =>
    all.map((message) => `${name} ${escapeControls(message)}\n`),
  );
  const boots = status.bootTargets.flatMap(({ name, version, state }) =>
    state === "stored" ? [`${name} ${version}`] : [],
  );
  const problems = services.flatMap(({ name, error }) =>
    error === undefined ? [] : [problemText(stdout, name, error)],
  );
  return [
    `${health}\n\n${head}`,
    rows.length === 0
      ? "\nThe manifest lists no services.\n"
      : `\n${table(stdout, ["SERVICE", "VERSION", "STATE", "FOR", "LAYERS", "UIDS", "NETWORK", "RESTARTS"], rows)}`,
    boots.length === 0
      ? ""
      : `\nStored, not what this system was started from: ${escapeControls(boots.join(", "))}\n`,
    loosened.length === 0 ? "" : `\nLoosened by the manifest:\n  ${loosened.join("  ")}`,
    problems.length === 0 ? "" : `\n${problems.join("\n")}`,
    notes,
  ].join("");
}

export const statusCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "Show what runs, who vouches for it, and what is wrong",
      fullDescription:
        "Computed from what is on disk and what systemd and the kernel report, each time anew. Exits with 8 when a service is not well, with 4 when the manifest is refused.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { stdout } = this.terminal;
      const status = await readStatus();
      stdout.write(flags.json ? jsonText(status) : show(stdout, status));
      this.outcome.exitCode = exitCodeOf(status);
    },
  }),
  [
    ["mosctl status", "for people"],
    ["mosctl status --json | jq .health", "for scripts"],
    ["curl --unix-socket /run/mos/status.sock http://mos/v1/status", "the same, without mosctl"],
  ],
);
