// F01, F16: every state of an update × what can go wrong in it. For each the chain of states that the device goes
// through until it is at rest, and what it reports: as one table, so that a person can read what a device does.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { boot } from "../../src/agent/boot.ts";
import { watchTrial } from "../../src/agent/trial.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { readFailures } from "../../src/generation/failures.ts";
import { pointedGeneration } from "../../src/generation/generations.ts";
import { readJournal } from "../../src/generation/journal.ts";
import { lockPath } from "../../src/generation/places.ts";
import { serviceUnit } from "../../src/services/unit-names.ts";
import type { FaultTag } from "../../src/system/fault.ts";
import { withLock } from "../../src/system/lock.ts";
import { apply, crashBench } from "./bench.ts";
import { bootAndCheck, type Device, newDevice, switchOn } from "./device.ts";
import type { Published } from "./releases.ts";

const bench = crashBench();
afterEach(() => {
  vi.unstubAllEnvs();
});

/**
 * What goes wrong: the step fails; the agent dies and systemd starts it again; it hangs until systemd's watchdog kills
 * it; the power goes.
 */
const troubles = ["error", "killed", "hangs", "power cut"] as const;
type Trouble = (typeof troubles)[number];

/** Where it goes wrong, and whether the new generation would be healthy. */
const states: Readonly<Record<string, readonly [tag: FaultTag, isHealthy: boolean]>> = {
  fetch: ["update.fetch-manifest", true],
  verify: ["update.verify", true],
  preflight: ["update.preflight", true],
  "fetch images": ["update.fetch-images", true],
  stage: ["update.stage", true],
  add: ["update.add", true],
  activate: ["trial.activate", true],
  health: ["trial.health", true],
  verdict: ["trial.verdict", true],
  commit: ["commit.current", true],
  "end of commit": ["commit.end", true],
  revert: ["revert.activate", false],
};

/**
 * Phase of the journal and number of the current generation: when it went wrong → when the agent has started again →
 * at rest. Then what is remembered of the manifest, and what the caller was told where it was told anything.
 */
type Row = readonly [chain: string, remembered: string, told: string];

/** The same row for all that ends the agent without a word; the caller lost its connection. */
function silent(chain: string, remembered = "nothing"): Omit<Record<Trouble, Row>, "error"> {
  const row: Row = [chain, remembered, ""];
  return { killed: row, hangs: row, "power cut": row };
}

/** Nothing but the store has changed so far. */
const before = {
  error: ["idle 1 → idle 1 → idle 1", "nothing", "io-failed"],
  ...silent("idle 1 → idle 1 → idle 1"),
} as const satisfies Record<Trouble, Row>;

/** An error of the device itself gives the trial up, and is not held against the manifest. */
const trial = {
  error: ["idle 1 → idle 1 → idle 1", "nothing", "generation-unhealthy"],
  ...silent("trial 1 → trial 1 → idle 2"),
} as const satisfies Record<Trouble, Row>;

/** Beyond the verdict there is only forward: what is begun is finished at the next start. */
const table: Readonly<Record<string, Readonly<Record<Trouble, Row>>>> = {
  fetch: before,
  verify: before,
  preflight: before,
  "fetch images": before,
  stage: before,
  add: before,
  activate: trial,
  health: trial,
  verdict: { ...trial, error: before.error },
  commit: {
    error: ["commit 1 → idle 2 → idle 2", "nothing", "io-failed"],
    ...silent("commit 1 → idle 2 → idle 2"),
  },
  "end of commit": {
    error: ["commit 2 → idle 2 → idle 2", "nothing", "io-failed"],
    ...silent("commit 2 → idle 2 → idle 2"),
  },
  revert: {
    error: ["revert 1 → idle 1 → idle 1", "generation-unhealthy", "generation-unhealthy"],
    ...silent("revert 1 → idle 1 → idle 1", "generation-unhealthy"),
  },
};

/** Does the update and lets it go wrong. @returns what the caller was told */
async function goWrong(device: Device, root: string, release: Published, tag: FaultTag, trouble: Trouble) {
  const stamps = join(root, "../stamps");
  vi.stubEnv("MOS_FAULT_STAMPS", stamps);
  if (trouble === "error") {
    vi.stubEnv("MOS_FAULT", `${tag}:eio`);
    const told = await apply(device, release).then(
      () => "done",
      (error: unknown) => asMosError(error).code,
    );
    vi.stubEnv("MOS_FAULT", undefined);
    return told;
  }
  const kind = trouble === "hangs" ? "freeze" : "kill";
  const program = join(import.meta.dirname, "agent-program.ts");
  const child = spawn(process.execPath, [program, root, "update", release.reference, serviceUnit("bad")], {
    stdio: "ignore",
    env: { ...process.env, MOS_FAULT: `${tag}:${kind}` },
  });
  const closed = once(child, "close");
  if (trouble === "hangs") {
    await vi.waitUntil(() => existsSync(join(stamps, `${tag}:${kind}`)), { timeout: 60_000, interval: 20 });
    // As systemd's watchdog does.
    child.kill("SIGABRT");
  }
  const [, signal] = await closed;
  expect(signal).toBe(trouble === "hangs" ? "SIGABRT" : "SIGKILL");
  if (trouble === "power cut") switchOn(device);
  return "";
}

async function look({ places }: Device): Promise<string> {
  const [journal, current] = [await readJournal(places), await pointedGeneration(places, "current")];
  return `${journal?.phase ?? "idle"} ${current ?? "none"}`;
}

describe.each(Object.keys(states))("in %s", (state) => {
  test.each(troubles)("%s", async (trouble) => {
    const [tag, isHealthy] = states[state] ?? expect.fail();
    const root = join(mkdtempSync(join(bench().directory, "chain-")), "device");
    const device = newDevice(root, bench().signers.ca.pem);
    device.systemd.failing.add(serviceUnit("bad"));
    const one = await bench().publish({ web: ["a"] }, { serial: 1, epoch: 0 });
    await apply(device, one);
    const next = isHealthy ? { web: ["b"] } : { web: ["a"], bad: ["b"] };
    const two = await bench().publish(next, { serial: 2, epoch: 0 });

    const told = await goWrong(device, root, two, tag, trouble);
    const chain = [await look(device)];
    const { outcome } = await boot(device);
    chain.push(await look(device));
    if (outcome.kind !== "refused" && outcome.kind !== "no-generation" && outcome.trial !== undefined) {
      const { trial } = outcome;
      await withLock(lockPath(device.places), "trial", () => watchTrial(device, trial)).catch(
        () => undefined,
      );
    }
    chain.push(await look(device));
    const remembered = (await readFailures(device.places)).map(({ code }) => code).join(" ") || "nothing";
    expect([chain.join(" → "), remembered, told]).toEqual(table[state]?.[trouble]);
    const runs = chain.at(-1) === "idle 2" ? two : one;
    await bootAndCheck(device, { current: [runs.digest], idmaps: new Map() }, true);
  });
});
