// Runs a piece of work once, and then what follows a power cut at each of its changes of the disk.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readIdMaps } from "../../src/generation/idmaps.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { IdMaps } from "../../src/services/idmap.ts";
import { bootAndCheck, type Device, type Expected, newDevice, recover, switchOn } from "./device.ts";
import { cutPoints, type Operation, type Outcome, outcomeOf, type Recording } from "./disk.ts";
import { fingerprint, materialise, outcomesAt, randomFrom } from "./outcomes.ts";
import { record } from "./record.ts";

export interface Scenario {
  /** Brings a new device to where the work begins. */
  readonly prepare: (device: Device) => Promise<unknown>;
  /** What is cut off. It must be right to do it again after a cut. */
  readonly work: (device: Device) => Promise<unknown>;
  /** Digest of install.json that is current before and after the work; undefined for none. */
  readonly before: Digest | undefined;
  readonly after: Digest | undefined;
  /** Units that fail on this device whenever they are started. */
  readonly failing?: readonly string[];
  /** Groups that are of no generation after the work, so that their uid ranges need not stay. */
  readonly mayForgetIds?: readonly string[];
}

export interface Explored {
  readonly operations: number;
  /** Different states of the disk that were recovered from. */
  readonly states: number;
  /** In how many of them the old and the new generation ran. */
  readonly old: number;
  readonly new: number;
}

export interface Bench {
  /** Where devices are: in memory, where there is some. */
  readonly directory: string;
  readonly caPem: string;
  /** Of the choice among many possible states. */
  readonly seed: number;
  /** Leaves out what mos does: that the test finds what comes of it shows what the test is worth. */
  readonly forget?: Operation["kind"];
}

/** Of states that only chance chose, the work is done again in one of so many. */
const repeatOneIn = 6;

/** After a kill, the power goes at the end of what was done again, and at so many operations before. */
const cutsAfterKill = 1;

/** One exploration: states that were seen in it are not tried again. */
class Exploration {
  readonly seen = new Set<string>();
  readonly counts = { old: 0, new: 0 };
  readonly place: string;
  private readonly bench: Bench;
  private readonly scenario: Scenario;
  private readonly idmaps: IdMaps;
  readonly random: () => number;

  constructor(bench: Bench, scenario: Scenario, place: string, idmaps: IdMaps) {
    this.bench = bench;
    this.scenario = scenario;
    this.place = place;
    this.idmaps = idmaps;
    this.random = randomFrom(bench.seed);
  }

  /** Puts an outcome on the disk of a device that is switched off. */
  put(recording: Recording, outcome: Outcome, name: string): Device {
    const device = newDevice(join(this.place, name), this.bench.caPem);
    for (const unit of this.scenario.failing ?? []) device.systemd.failing.add(unit);
    rmSync(device.places.state, { recursive: true });
    materialise(recording, outcome, device.places.state);
    return device;
  }

  /** Cuts the power after each number of operations that is wanted. */
  async cut(recording: Recording, isWanted: (count: number) => boolean, how = ""): Promise<void> {
    const { operations } = recording;
    let count = -1;
    for (const cut of cutPoints(recording)) {
      if (!isWanted(++count)) continue;
      const isDone = count === operations.length;
      const before = `seed ${this.bench.seed}, ${how}power cut after operation ${count} of ${operations.length} (${describe(operations[count - 1])})`;
      const tries = [...outcomesAt(recording, cut, this.random)].map((outcome, variant) => {
        const about = { name: `${how}cut-${count}-${variant}`, before: `${before}, variant ${variant}` };
        return this.tryOne(recording, outcome, { ...about, isDone, isFirst: variant === 0 });
      });
      await Promise.all(tries);
    }
  }

  private async tryOne(
    recording: Recording,
    outcome: Outcome,
    { name, before, isDone, isFirst }: { name: string; before: string; isDone: boolean; isFirst: boolean },
  ): Promise<void> {
    const print = `${isDone} ${fingerprint(recording, outcome)}`;
    if (this.seen.has(print)) return;
    this.seen.add(print);
    const { scenario } = this;
    const current = isDone ? [scenario.after] : [scenario.before, scenario.after];
    const isRepeated = isFirst || this.random() < 1 / repeatOneIn;
    try {
      const device = this.put(recording, outcome, name);
      const expected = { current, idmaps: this.idmaps };
      const runs = await survive(device, scenario, expected, isRepeated);
      this.counts[runs === scenario.after ? "new" : "old"]++;
    } catch (error) {
      const what = error instanceof Error ? error.message : error;
      throw new Error(`${before}: ${what}`, { cause: error });
    }
    rmSync(join(this.place, name), { recursive: true });
  }
}

/** @throws Error naming the operation after which the power went, and what was not as it has to be */
export async function explore(bench: Bench, scenario: Scenario): Promise<Explored> {
  const place = mkdtempSync(join(bench.directory, "device-"));
  const device = newDevice(join(place, "original"), bench.caPem);
  for (const unit of scenario.failing ?? []) device.systemd.failing.add(unit);
  switchOn(device);
  await scenario.prepare(device);
  const forgettable = new Set(scenario.mayForgetIds);
  const idmaps = new Map([...(await readIdMaps(device.places))].filter(([group]) => !forgettable.has(group)));
  const whole = await record(device.places.state, () => scenario.work(device));
  const forgetful = (recording: Recording): Recording => ({
    ...recording,
    operations: recording.operations.filter(({ kind }) => kind !== bench.forget),
  });
  const recording = forgetful(whole);
  const exploration = new Exploration(bench, scenario, place, idmaps);
  await exploration.cut(recording, () => true);
  for (const count of recording.operations.keys()) {
    await killAndCut(exploration, scenario, {
      ...recording,
      operations: recording.operations.slice(0, count),
    });
  }
  rmSync(place, { recursive: true });
  const { seen, counts } = exploration;
  return { operations: recording.operations.length, states: seen.size, ...counts };
}

/** What a killed process left is seen by the next one, and is no more certain than it was. */
async function killAndCut(exploration: Exploration, scenario: Scenario, killed: Recording): Promise<void> {
  const count = killed.operations.length;
  const [cut] = [...cutPoints(killed)].slice(-1);
  if (cut === undefined) return;
  const all = outcomeOf(
    killed,
    cut,
    () => true,
    () => "new",
  );
  const device = exploration.put(killed, all, `killed-${count}`);
  switchOn(device);
  const continued = await record(
    device.places.state,
    async () => {
      await recover(device);
      await scenario.work(device);
    },
    killed,
  );
  rmSync(join(exploration.place, `killed-${count}`), { recursive: true });
  const last = continued.operations.length;
  const wanted = new Set([last]);
  for (let i = 0; i < cutsAfterKill; i++) {
    wanted.add(count + 1 + Math.floor(exploration.random() * (last - count)));
  }
  await exploration.cut(continued, (at) => wanted.has(at), `killed after operation ${count}, then `);
}

/** The device boots, and the same work done again ends as it should have. @returns what ran after the boot */
async function survive(
  device: Device,
  { work, after }: Scenario,
  expected: Expected,
  isRepeated: boolean,
): Promise<Digest | undefined> {
  const runs = await bootAndCheck(device, expected, isRepeated);
  if (!isRepeated) return runs;
  await work(device);
  await bootAndCheck(device, { ...expected, current: [after] }, true);
  return runs;
}

function describe(operation: Operation | undefined): string {
  if (operation === undefined) return "none";
  return JSON.stringify(
    Object.fromEntries(
      Object.entries(operation).map(([key, value]) => [
        key,
        Buffer.isBuffer(value) ? `${value.length} bytes` : value,
      ]),
    ),
  );
}
