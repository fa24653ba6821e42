// Kernel and root change together, by a start of the device. What is done to the EFI system partition for that: before
// it, when the new system is healthy, and when it is given up. Every step looks at what is there and can be repeated.
import { join } from "node:path";
import { isStartedBy, namedRoot, rootIdentity } from "../boot/command-line.ts";
import { applySteps, type Esp, readEsp } from "../boot/esp.ts";
import {
  type Entry,
  fateOf,
  planBless,
  planCleanup,
  planGoBack,
  planInstall,
  planWithdraw,
} from "../boot/esp-entries.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { pointedGeneration, readGeneration } from "../generation/generations.ts";
import { readJournal } from "../generation/journal.ts";
import { storePath } from "../generation/places.ts";
import { storedManifest } from "../generation/stored-manifest.ts";
import type { SystemChange, Transaction } from "../generation/transaction.ts";
import { Layout } from "../oci/layout.ts";
import { discard, writeFileAtomic } from "../system/atomic-file.ts";
import { fault } from "../system/fault.ts";
import type { AgentContext } from "./context.ts";
import { loadGeneration } from "./load.ts";
import { log } from "./log.ts";
import { hostfsOf, startedSystem } from "./started.ts";
import { otherSystem, type SystemImage } from "./system-image.ts";

/** The image that has started the system. @throws MosError `esp-missing` when it is not there */
async function bootedEntry(context: AgentContext, { entries, directory }: Esp): Promise<Entry> {
  const started = await startedSystem(context);
  const found = entries.filter(({ commandLine }) => isStartedBy(started?.commandLine ?? "", commandLine));
  const [booted] = found;
  if (booted !== undefined && found.length === 1) return booted;
  throw new MosError(
    "esp-missing",
    `cannot tell which of the kernel images in ${directory} has started this system: ${found.length} could have`,
    { about: directory },
  );
}

/**
 * Puts the kernel image of a system where the loader takes it next.
 * @throws MosError `esp-missing`, `esp-full`, `no-space`, `io-failed`
 */
export async function installSystem(context: AgentContext, { entry, bytes }: SystemImage): Promise<void> {
  await fault("system.install");
  const esp = await readEsp(context.boot.esp);
  const booted = await bootedEntry(context, esp);
  const { entries, foreign, free } = esp;
  const { steps } = planInstall({ entries, foreign, free, next: entry, booted });
  // Collected with other leftovers after a power cut.
  const copy = join(context.places.state, ".kernel-image.tmp");
  try {
    await writeFileAtomic(copy, bytes, 0o600);
    await applySteps(context.systemd.runOnce, esp, steps, copy);
  } finally {
    await discard(copy);
  }
}

/** Looks whether the kernel image could be put there, before anything is. @throws MosError as {@link installSystem} */
export async function checkSystem(context: AgentContext, { entry }: SystemImage): Promise<SystemChange> {
  const esp = await readEsp(context.boot.esp);
  const booted = await bootedEntry(context, esp);
  const { entries, foreign, free } = esp;
  planInstall({ entries, foreign, free, next: entry, booted });
  return { from: booted.commandLine, to: entry.commandLine };
}

/** The roots that must stay startable, by {@link rootIdentity}: of the generations that run, ran before, or are being tried. */
async function wantedRoots({ places }: AgentContext): Promise<ReadonlySet<string>> {
  const journal = await readJournal(places);
  const numbers = [
    await pointedGeneration(places, "current"),
    await pointedGeneration(places, "previous"),
    journal?.from,
    journal?.phase === "revert" ? undefined : journal?.to,
  ];
  const store = await Layout.open(storePath(places));
  const roots = new Set<string>();
  for (const number of new Set(numbers)) {
    if (typeof number !== "number") continue;
    const hostfs = await hostfsOf(store, storedManifest(await readGeneration(places, number)));
    if (hostfs !== undefined) roots.add(rootIdentity(hostfs));
  }
  return roots;
}

/** Images of systems that nobody goes back to go. Where it cannot be told which these are, all stay. */
async function cleanUp(context: AgentContext): Promise<void> {
  const wanted = await wantedRoots(context);
  const esp = await readEsp(context.boot.esp);
  const booted = await bootedEntry(context, esp);
  const isWanted = (commandLine: string): boolean => {
    const root = namedRoot(commandLine)?.stored;
    return root === undefined || wanted.has(rootIdentity(root));
  };
  await applySteps(context.systemd.runOnce, esp, planCleanup(esp.entries, booted, isWanted));
}

/** What is being tried is watched by the device itself, too (units/mos-trial.timer): from now on it is not. */
export async function endWatch({ places }: AgentContext): Promise<void> {
  await discard(join(places.run, "boot-trial"));
}

/**
 * The system that runs is good: the loader does not count it any more.
 * @throws MosError `esp-missing`, `io-failed`
 */
export async function blessSystem(context: AgentContext): Promise<void> {
  await fault("system.bless");
  const esp = await readEsp(context.boot.esp);
  await applySteps(context.systemd.runOnce, esp, planBless(await bootedEntry(context, esp)));
  await endWatch(context);
}

/** After a commit: it never fails, because the device runs well without it. */
export async function cleanUpSystems(context: AgentContext): Promise<void> {
  try {
    await cleanUp(context);
  } catch (error) {
    const { code, message } = asMosError(error);
    // Nothing was ever stored.
    if (code === "not-found") return;
    log.warn({ code }, `cannot remove kernel images that are no longer needed: ${message}`);
  }
}

/**
 * The system that runs is given up: the device starts anew, with the one before.
 * @throws MosError `esp-missing` when that one is not there, `io-failed`, `systemd-failed`
 */
export async function startBefore(context: AgentContext, { from }: SystemChange): Promise<void> {
  await fault("system.back");
  const esp = await readEsp(context.boot.esp);
  const before = esp.entries.find(({ commandLine }) => commandLine === from);
  if (before === undefined) {
    throw new MosError(
      "esp-missing",
      "cannot go back: the kernel image that was started before is not there",
      {
        about: esp.directory,
      },
    );
  }
  await applySteps(context.systemd.runOnce, esp, planGoBack(await bootedEntry(context, esp), before));
  await context.systemd.reboot();
}

/**
 * A system that was to be started next is not, any more, and the one that runs counts as good.
 * @throws MosError `esp-missing`, `io-failed`
 */
export async function withdrawSystem(
  context: AgentContext,
  { kind }: Pick<Transaction, "kind">,
  { to }: SystemChange,
): Promise<void> {
  await fault("system.withdraw");
  const esp = await readEsp(context.boot.esp);
  const keeps = kind === "rollback" || namedRoot(to)?.stored === undefined;
  await applySteps(
    context.systemd.runOnce,
    esp,
    planWithdraw(esp.entries, await bootedEntry(context, esp), to, keeps),
  );
}

/**
 * What became of a system that was to be started next, while the one before runs.
 * @throws MosError `esp-missing`, `io-failed`
 */
export async function fateOfSystem(
  context: AgentContext,
  { to }: SystemChange,
): Promise<ReturnType<typeof fateOf>> {
  return fateOf((await readEsp(context.boot.esp)).entries, to);
}

/** Puts the kernel image of a generation there once more, after a power cut. @throws MosError as {@link installSystem} */
export async function installAgain(context: AgentContext, generation: number): Promise<void> {
  const { manifest } = await loadGeneration(context, generation);
  const store = await Layout.open(storePath(context.places));
  const system = await otherSystem(context, store, manifest, await startedSystem(context));
  if (system !== undefined) await installSystem(context, system);
}
