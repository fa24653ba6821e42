// A device in memory, which can be switched off at any moment: what it must be like when it is on again.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BootOutcome, boot } from "../../src/agent/boot.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import { history } from "../../src/agent/history.ts";
import { watchTrial } from "../../src/agent/trial.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { readFailures } from "../../src/generation/failures.ts";
import { listGenerations, pointedGeneration, readGeneration } from "../../src/generation/generations.ts";
import { readIdMaps } from "../../src/generation/idmaps.ts";
import { readJournal } from "../../src/generation/journal.ts";
import { lockPath } from "../../src/generation/places.ts";
import { parseInstallManifest } from "../../src/manifest/install-json.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/model.ts";
import type { IdMaps } from "../../src/services/idmap.ts";
import type { Places } from "../../src/services/unit-names.ts";
import { withLock } from "../../src/system/lock.ts";
import { contextIn } from "../integration/device-fixture.ts";
import { type MemoryManager, memoryManager } from "../memory-manager.ts";

export interface Device extends AgentContext {
  readonly systemd: MemoryManager;
}

/** A device with this anchor and nothing else, in a directory that must not be there yet. */
export function newDevice(root: string, caPem: string): Device {
  mkdirSync(join(root, "state"), { recursive: true });
  writeFileSync(join(root, "ca.pem"), caPem);
  return { ...contextIn(root), systemd: memoryManager() };
}

/** The power comes back: nothing of /run is there, nothing runs. */
export function switchOn({ places, unitDirectory, quadletDirectory, systemd }: Device): void {
  for (const path of [places.run, unitDirectory, quadletDirectory]) {
    rmSync(path, { recursive: true, force: true });
  }
  systemd.up.clear();
}

/** What the agent does when it starts (agent/daemon.ts): the boot, and the end of a trial that it finds. */
export async function recover(device: Device): Promise<Exclude<BootOutcome, { readonly kind: "refused" }>> {
  const { outcome } = await boot(device);
  if (outcome.kind === "refused") throw outcome.error;
  if (outcome.kind !== "no-generation" && outcome.trial !== undefined) {
    const { trial } = outcome;
    await withLock(lockPath(device.places), "trial", () => watchTrial(device, trial)).catch(
      (error: unknown) => {
        // It went back, as it should when the generation is not healthy.
        if (asMosError(error).code !== "generation-unhealthy") throw error;
      },
    );
  }
  return outcome;
}

/** What may be current after a cut. */
export interface Expected {
  /** Digests of install.json; undefined for "nothing was applied yet". */
  readonly current: readonly (Digest | undefined)[];
  /** Ranges that are given away for ever. */
  readonly idmaps: IdMaps;
}

function demand(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

/**
 * Names that the state may have. What is not one that runs is garbage, and must be known as such: partial and
 * temporary files and directories, by their names.
 */
const known = [
  /^(oci|oci\/blobs|oci\/blobs\/sha256|generations|trust)$/,
  /^oci\/(index\.json|oci-layout|\.lock)$/,
  /^oci\/blobs\/sha256\/[0-9a-f]{64}$/,
  /^oci\/\.partial-[0-9a-f]{64}$/,
  /^(generations|trust)\/[1-9][0-9]*(\/[a-z0-9.-]+)?$/,
  /^(generations|trust)\/\.[1-9][0-9]*\.tmp(\/[a-z0-9.-]+)?$/,
  /^(current|previous|idmaps\.json|epoch\.json|journal\.json|failed\.json|starts)$/,
  /^(oci\/)?\.[a-z.-]+\.[0-9a-f]{12}\.tmp$/,
];

function checkNames({ places }: AgentContext): void {
  const walk = (below: string): void => {
    for (const entry of readdirSync(join(places.state, below), { withFileTypes: true })) {
      const name = join(below, entry.name);
      demand(
        known.some((pattern) => pattern.test(name)),
        `nobody knows what ${name} is`,
      );
      if (entry.isDirectory()) walk(name);
    }
  };
  walk("");
}

/**
 * What is current, read from the disk with no help of the agent, which has verified it when it booted: whether it is
 * whole. @returns digest of install.json
 */
function readCurrent({ places }: AgentContext): Digest | undefined {
  const directory = join(places.state, "current");
  if (!existsSync(directory)) return undefined;
  const bytes = readFileSync(join(directory, "install.json"));
  for (const { digest } of parseInstallManifest(bytes).targets) {
    const image = parseManifest(readBlob(places, digest), digest);
    for (const descriptor of [image.config, ...image.layers]) readBlob(places, descriptor.digest);
  }
  return digestOf(bytes);
}

function readBlob({ state }: Places, digest: Digest): Uint8Array {
  const bytes = readFileSync(join(state, "oci/blobs/sha256", hexOf(digest)));
  const actual = digestOf(bytes);
  demand(actual === digest, `the blob ${digest} has the digest ${actual}`);
  return bytes;
}

async function checkRest(context: AgentContext, { idmaps }: Expected): Promise<void> {
  const { places } = context;
  const previous = await pointedGeneration(places, "previous");
  const generations = await listGenerations(places);
  demand(previous === undefined || generations.includes(previous), "the generation before is not there");
  demand((await readJournal(places)) === undefined, "the journal is still there");
  await readFailures(places);
  for (const number of generations) await readGeneration(places, number);
  await history(context);
  const ids = await readIdMaps(places);
  for (const [group, id] of idmaps) demand(ids.get(group) === id, `the uid range of ${group} is another`);
}

/**
 * Boots the device and looks at what is current.
 * @param isThorough whether everything else is looked at as well, and the device is booted again
 * @returns what is current
 * @throws Error saying what is not as it has to be
 */
export async function bootAndCheck(
  context: Device,
  expected: Expected,
  isThorough: boolean,
): Promise<Digest | undefined> {
  switchOn(context);
  const outcome = await recover(context);
  const [problem] = outcome.kind === "no-generation" ? [] : outcome.problems;
  demand(problem === undefined, `${problem?.service}: ${problem?.error.message}`);
  const [damage] = outcome.kind === "no-generation" ? [] : outcome.damage;
  demand(damage === undefined, `taken for damage: ${damage?.message}`);
  const current = readCurrent(context);
  demand(
    expected.current.includes(current),
    `${current ?? "nothing"} is current, not ${expected.current.map((one) => one ?? "nothing").join(" or ")}`,
  );
  checkNames(context);
  if (isThorough) {
    await checkRest(context, expected);
    const again = await recover(context);
    demand(
      again.kind === (current === undefined ? "no-generation" : "unchanged"),
      `booted again: ${again.kind}`,
    );
  }
  return current;
}
