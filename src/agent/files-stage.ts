// mosd --stage=initrd-files, --stage=sets and --stage=files: signed sets that a power cut interrupted, apps whose files a
// boot has to bring again, and the signed files of /etc/validator/boot.d. In the initrd, by the program of the verified
// root, before any generator of units runs; in the running system (mos-sets.service, mos-validator.service) for what was
// not there yet, and as the step to the next transaction.
import { existsSync } from "node:fs";
import { exitCodes } from "../errors/catalogue.ts";
import { asMosError } from "../errors/mos-error.ts";
import { bootDirectory, type ConfigOutcome, installBootFiles } from "../signed-files/boot-files.ts";
import { levelPlaces, setPlaces } from "../signed-sets/places.ts";
import type { LevelPlaces } from "../signed-sets/read-levels.ts";
import { unitOf } from "../signed-sets/set-units.ts";
import { loadPolicy } from "../trust/policy.ts";
import { type AgentContext, deviceContext } from "./context.ts";
import { closeGate, type FilesRecord, openGate, writeFilesRecord } from "./files-record.ts";
import { stateReport } from "./initrd-state.ts";
import { log } from "./log.ts";

/** Problems that are shown of one configuration. */
const shownProblems = 20;

type Problem = FilesRecord["problems"][number];

interface FilesPlaces {
  /** Of sets (src/signed-sets/ledger.ts), and the versions of apps that are kept (src/apps/kept.ts). */
  readonly sets: string;
  readonly apps: string;
  /** Of sets in levels (src/signed-sets/read-levels.ts). */
  readonly levels: LevelPlaces;
  readonly configurations: string;
  /** Of public keys of apps and of sets in levels; without any, those of every device. */
  readonly keys: readonly string[];
  /** What the destinations of sets are below. */
  readonly root: string;
}

const devicePlaces: FilesPlaces = {
  ...{ sets: setPlaces.state, apps: "/var/lib/mos/apps", levels: levelPlaces },
  ...{ configurations: bootDirectory, keys: [], root: setPlaces.root },
};

function problemOf(error: unknown): Problem {
  const { code, message } = asMosError(error);
  return { code, message };
}

interface Settled {
  /** Sets whose installation was interrupted. */
  readonly sets: readonly string[];
  /** Apps whose files were put back. */
  readonly apps: readonly string[];
  readonly levels: { readonly restored: readonly string[]; readonly later: readonly string[] };
  readonly problems: readonly Problem[];
}

const nothing: Settled = { sets: [], apps: [], levels: { restored: [], later: [] }, problems: [] };

/** Whether a change of a set was begun and is not done. */
async function hasUnfinished({ sets }: FilesPlaces): Promise<boolean> {
  return await (await import("../signed-sets/ledger.ts")).hasJournals(sets);
}

async function recover(where: FilesPlaces, leaveReadOnly: boolean): Promise<Settled> {
  if (!(await hasUnfinished(where))) return nothing;
  const { sets, root } = where;
  const { recoverSets } = await import("../signed-sets/install-set.ts");
  try {
    return { ...nothing, sets: await recoverSets({ state: sets, root }, { leaveReadOnly }) };
  } catch (error) {
    return { ...nothing, problems: [problemOf(error)] };
  }
}

async function restoreInLevels(
  device: Pick<AgentContext, "trust">,
  { sets: state, levels, keys, root }: FilesPlaces,
  leaveReadOnly: boolean,
): Promise<Settled> {
  if (!existsSync(levels.image) && !existsSync(levels.kept)) return nothing;
  const [{ restoreLevels }, { levelIdentity }, { deviceKeys }] = await Promise.all([
    import("../signed-sets/restore-levels.ts"),
    import("./level-identity.ts"),
    import("../signed-files/device-keys.ts"),
  ]);
  try {
    const identity = await levelIdentity(device);
    const where = { places: { state, root, ...levels }, keys: deviceKeys([], keys), identity };
    const { restored, later, failed } = await restoreLevels(where, { leaveReadOnly });
    const problems = failed.map(({ name, error: { code, message } }) => ({
      code,
      message: `set ${name}: ${message}`,
    }));
    return { ...nothing, levels: { restored, later }, problems };
  } catch (error) {
    return { ...nothing, problems: [problemOf(error)] };
  }
}

async function restore({ sets: state, apps, root, keys: directories }: FilesPlaces): Promise<Settled> {
  if (!existsSync(apps)) return nothing;
  const { restoreApps } = await import("../apps/restore.ts");
  const keys = async () => (await import("../signed-files/device-keys.ts")).deviceKeys([], directories);
  try {
    const { restored, failed } = await restoreApps({ state, root }, apps, keys);
    const problems = failed.map(({ name, error: { code, message } }) => ({
      code,
      message: `app ${name}: ${message}`,
    }));
    return { ...nothing, apps: restored, problems };
  } catch (error) {
    return { ...nothing, problems: [problemOf(error)] };
  }
}

/**
 * Sets that were interrupted, then apps that are missing, then sets in levels. In an initrd, what cannot be written yet is
 * left alone.
 */
async function settle(
  device: Pick<AgentContext, "trust">,
  where: FilesPlaces,
  leaveReadOnly: boolean,
): Promise<Settled> {
  const first = await recover(where, leaveReadOnly);
  const then = await restore(where);
  const last = await restoreInLevels(device, where, leaveReadOnly);
  const problems = [...first.problems, ...then.problems, ...last.problems];
  return { sets: first.sets, apps: then.apps, levels: last.levels, problems };
}

function outcomeOf(
  { sets, apps, levels, problems }: Settled,
  configs: readonly ConfigOutcome[],
): FilesRecord["outcome"] {
  const isWhole = configs.every(({ outcome }) => outcome === "installed" || outcome === "unchanged");
  if (problems.length + levels.later.length > 0 || !isWhole) return "incomplete";
  return sets.length + apps.length + levels.restored.length > 0 ||
    configs.some(({ outcome }) => outcome === "installed")
    ? "installed"
    : "unchanged";
}

/** As the record has it. */
function listsOf({
  sets,
  apps,
  levels,
  problems,
}: Settled): Omit<FilesRecord, "version" | "outcome" | "configs"> {
  const { restored, later } = levels;
  return {
    ...{ sets: [...sets], apps: [...apps], problems: [...problems] },
    levels: { restored: [...restored], later: [...later] },
  };
}

/** Never throws but for a defect. */
async function initrdFiles(
  device: Pick<AgentContext, "places" | "trust">,
  where: FilesPlaces,
): Promise<FilesRecord> {
  const state = stateReport(device.places);
  if (state?.startsWith("missing ")) {
    const problem = { code: "state-missing", message: `cannot find the device's state: ${state}` };
    return { version: 1, outcome: "no-state", ...listsOf({ ...nothing, problems: [problem] }), configs: [] };
  }
  const settled = await settle(device, where, true);
  const configs = await installBootFiles(where.configurations);
  return {
    version: 1,
    outcome: outcomeOf(settled, configs),
    ...listsOf(settled),
    configs: configs.map(({ config, outcome, written, problems: why }) => ({
      ...{ config, outcome, written: written.length, problems: why.slice(0, shownProblems) },
    })),
  };
}

function report({ sets, apps, levels, configs, problems }: Omit<FilesRecord, "version" | "outcome">): void {
  if (apps.length > 0) log.info({ apps }, "the files of apps are in their place");
  if (levels.restored.length > 0) log.info({ sets: levels.restored }, "signed sets are as their levels say");
  if (levels.later.length > 0)
    log.warn({ sets: levels.later }, "signed sets cannot be written to their place yet");
  for (const name of sets)
    log.info({ set: name }, "an interrupted installation of a signed set was finished");
  for (const { config, outcome, written, problems: why } of configs) {
    if (outcome === "installed" || outcome === "unchanged") {
      log.info({ config, outcome, written }, "signed files");
      continue;
    }
    const level = outcome === "no-source" ? "warn" : "error";
    log[level]({ config, outcome }, "signed files: nothing was installed");
    for (const { code, message } of why) log[level]({ code }, message);
  }
  for (const { code, message } of problems) log.error({ code }, message);
}

/** Whether something was refused, or could not be looked for. That nothing is there yet is neither. */
function isRefused({ problems, configs }: FilesRecord): boolean {
  return problems.length > 0 || configs.some(({ outcome }) => outcome === "refused");
}

/** Whether the device boots on without what is refused. A policy that came with the initrd and cannot be read says no. */
async function mayDoWithout({ trust }: AgentContext): Promise<boolean> {
  try {
    return (await loadPolicy(trust.policies, trust.builtIn)).signedFiles === "optional";
  } catch (error) {
    return !asMosError(error).about?.startsWith(trust.initrd);
  }
}

/**
 * What is done in the initrd, and written down. Where the policy wants signed files, the gate is closed before anything
 * is tried (mos-gate.sh), so that it is closed also when this is killed.
 */
export async function initrdFilesStage(
  context: AgentContext,
  where: FilesPlaces = devicePlaces,
): Promise<FilesRecord> {
  const isOptional = await mayDoWithout(context);
  if (!isOptional) closeGate(context.places);
  const record = await initrdFiles(context, where);
  const { problems, levels } = record;
  const isDone = problems.length + levels.later.length === 0 && !(await hasUnfinished(where));
  writeFilesRecord(context.places, record, isDone);
  if (!isOptional && !isRefused(record)) openGate(context.places);
  return record;
}

/** In the initrd. Exits with 4 when something was refused. */
export async function initrdMain(): Promise<void> {
  const record = await initrdFilesStage(deviceContext());
  report(record);
  if (isRefused(record) && record.outcome !== "no-state") process.exitCode = exitCodes.refused;
}

/** In the running system, where the initrd has not done it. Exits with 4 when something is not there now. */
export async function setsMain(): Promise<void> {
  const settled = await settle(deviceContext(), devicePlaces, false);
  report({ ...listsOf(settled), configs: [] });
  const changed = [...settled.sets, ...settled.apps, ...settled.levels.restored];
  if (changed.length > 0) await activate([]);
  if (settled.problems.length > 0) process.exitCode = exitCodes.refused;
}

/** Brings what runs in step with quadlets and units that were written. Waits for nothing: a boot may wait for this. */
async function activate(written: readonly string[]): Promise<void> {
  const { systemd, tryRestartUnitsNoBlock } = await import("../systemd/manager.ts");
  const units = written.flatMap((path) => unitOf(path)?.unit ?? []);
  await systemd.daemonReload();
  await tryRestartUnitsNoBlock([...new Set(units)].sort());
  await systemd.startUnitsNoBlock(["default.target"]);
}

/** In the running system. Exits with 4 when something was refused; that nothing is there yet is no failure. */
export async function runningMain(): Promise<void> {
  const configs = await installBootFiles(bootDirectory);
  const counted = configs.map(({ written, ...rest }) => ({
    ...rest,
    problems: [...rest.problems],
    written: written.length,
  }));
  report({ ...listsOf(nothing), configs: counted });
  const written = configs.flatMap((config) => config.written);
  if (written.length > 0) await activate(written);
  if (configs.some(({ outcome }) => outcome === "refused")) process.exitCode = exitCodes.refused;
}
