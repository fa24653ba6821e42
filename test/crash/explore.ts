// Runs a piece of work once, and then what follows a power cut at each of its changes of the disk.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { AgentContext } from "../../src/agent/context.ts";
import { readIdMaps } from "../../src/generation/idmaps.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { bootAndCheck, type Expected, newDevice, switchOn } from "./device.ts";
import { cutPoints } from "./disk.ts";
import { fingerprint, materialise, outcomesAt, randomFrom } from "./outcomes.ts";
import { record } from "./record.ts";

export interface Scenario {
  /** Brings a new device to where the work begins. */
  readonly prepare: (device: AgentContext) => Promise<unknown>;
  /** What is cut off. It must be right to do it again after a cut. */
  readonly work: (device: AgentContext) => Promise<unknown>;
  /** Digest of install.json that is current before and after the work; undefined for none. */
  readonly before: Digest | undefined;
  readonly after: Digest | undefined;
}

export interface Explored {
  readonly operations: number;
  /** Different states of the disk that were recovered from. */
  readonly states: number;
  /** In how many of them the old and the new generation ran. */
  readonly old: number;
  readonly new: number;
}

/** Where devices are: in memory, where there is some. */
export interface Bench {
  readonly directory: string;
  readonly caPem: string;
}

/**
 * @param seed of the choice among many possible states
 * @throws Error naming the operation after which the power went, and what was not as it has to be
 */
export async function explore(bench: Bench, scenario: Scenario, seed: number): Promise<Explored> {
  const place = mkdtempSync(join(bench.directory, "device-"));
  const device = newDevice(join(place, "original"), bench.caPem);
  switchOn(device);
  await scenario.prepare(device);
  const idmaps = await readIdMaps(device.places);
  const { recording } = await record(device.places.state, () => scenario.work(device));
  const random = randomFrom(seed);
  const seen = new Set<string>();
  const counts = { old: 0, new: 0 };
  let count = 0;
  for (const cut of cutPoints(recording)) {
    const isDone = count === recording.operations.length;
    const current = isDone ? [scenario.after] : [scenario.before, scenario.after];
    let variant = 0;
    for (const outcome of outcomesAt(recording, cut, random)) {
      variant++;
      const print = `${isDone} ${fingerprint(recording, outcome)}`;
      if (seen.has(print)) continue;
      seen.add(print);
      const root = join(place, `cut-${count}-${variant}`);
      const survivor = newDevice(root, bench.caPem);
      rmSync(survivor.places.state, { recursive: true });
      materialise(recording, outcome, survivor.places.state);
      try {
        const runs = await survive(survivor, scenario, { current, idmaps });
        counts[runs === scenario.after ? "new" : "old"]++;
      } catch (error) {
        const last = JSON.stringify(describe(recording.operations[count - 1]));
        throw new Error(
          `seed ${seed}, power cut after operation ${count} of ${recording.operations.length} (${last}), variant ${variant}: ${error instanceof Error ? error.message : error}\nthe device is in ${root}`,
          { cause: error },
        );
      }
      rmSync(root, { recursive: true });
    }
    count++;
  }
  rmSync(place, { recursive: true });
  return { operations: recording.operations.length, states: seen.size, ...counts };
}

/** The device boots, and the same work done again ends as it should have. @returns what ran after the boot */
async function survive(
  device: AgentContext,
  { work, after }: Scenario,
  expected: Expected,
): Promise<Digest | undefined> {
  const runs = await bootAndCheck(device, expected);
  await work(device);
  await bootAndCheck(device, { ...expected, current: [after] });
  return runs;
}

function describe(operation: object | undefined): unknown {
  if (operation === undefined) return "none";
  return Object.fromEntries(
    Object.entries(operation).map(([key, value]) => [
      key,
      Buffer.isBuffer(value) ? `${value.length} bytes` : value,
    ]),
  );
}
