// Random sequences of updates, rollbacks, kills and power cuts (F01, F13): what the device does, and what a model of a
// few lines says it should.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { rollback } from "../../src/agent/rollback.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { readFailures } from "../../src/generation/failures.ts";
import { pointedGeneration, readGeneration } from "../../src/generation/generations.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { serviceUnit } from "../../src/services/unit-names.ts";
import { type FaultTag, faultTags } from "../../src/system/fault.ts";
import { apply, crashBench, seed } from "./bench.ts";
import { type Device, newDevice, recover, switchOn } from "./device.ts";
import type { Published } from "./releases.ts";

const bench = crashBench();
const releases: Published[] = [];
/** The last one never becomes healthy. */
const bad = 3;
beforeAll(async () => {
  for (const [at, services] of [{ web: ["a"] }, { web: ["b"] }, { web: ["a"], more: ["b"] }].entries()) {
    releases.push(await bench().publish(services, { serial: at + 1, epoch: 0 }));
  }
  releases.push(await bench().publish({ web: ["a"], bad: ["b"] }, { serial: bad + 1, epoch: 0 }));
});

/** What a device is, as numbers of releases. */
class Model {
  current: number | undefined;
  previous: number | undefined;
  readonly failed = new Set<number>();

  /** @returns the code that the caller is told */
  update(to: number): string {
    if (to === this.current) return "done";
    if (this.failed.has(to)) return "generation-failed-before";
    if (to === bad) {
      this.failed.add(to);
      return "generation-unhealthy";
    }
    [this.previous, this.current] = [this.current, to];
    return "done";
  }

  rollback(): string {
    if (this.previous === undefined) return "generation-unknown";
    [this.previous, this.current] = [this.current, this.previous];
    return "done";
  }
}

/** Before these nothing was decided: what is interrupted there has not been. From the others on it goes forward. */
const undecided = new Set<FaultTag>(
  faultTags
    .filter((tag) => /^(update|rollback)\./.test(tag) && !tag.endsWith(".end"))
    .concat("trial.journal"),
);
/** Points that every update and every rollback to something else comes by. */
const points = faultTags.filter((tag) => /^(update|trial|apply)\./.test(tag) && tag !== "update.end");

interface Step {
  readonly work: "update" | "rollback";
  readonly to: number;
  /** Where its agent is killed; undefined when it is not. */
  readonly point: FaultTag | undefined;
  readonly isPowerCut: boolean;
}

const steps = fc.array(
  fc.record<Step>({
    work: fc.constantFrom("update", "update", "rollback"),
    to: fc.nat({ max: bad }),
    point: fc.option(fc.constantFrom(...points), { nil: undefined, freq: 2 }),
    isPowerCut: fc.boolean(),
  }),
  { minLength: 4, maxLength: 8 },
);

let starts = 0;

class Run {
  readonly root: string;
  readonly device: Device;
  readonly model = new Model();
  /** How many agents were killed so far, in all runs. */
  static kills = 0;

  constructor() {
    this.root = join(mkdtempSync(join(bench().directory, "model-")), "device");
    this.device = newDevice(this.root, bench().signers.ca.pem);
    this.device.systemd.failing.add(serviceUnit("bad"));
  }

  private release(at: number): Published {
    return releases[at] ?? expect.fail(`no release ${at}`);
  }

  /** @returns the code that the caller is told */
  private async whole({ work, to }: Step): Promise<string> {
    const does = work === "update" ? apply(this.device, this.release(to)) : this.goBack();
    return await does.then(
      () => "done",
      (error: unknown) => asMosError(error).code,
    );
  }

  private async goBack(): Promise<unknown> {
    return await rollback(this.device, undefined, () => undefined);
  }

  /** @returns whether the agent came by the point at which it is killed */
  private async killed({ work, to }: Step, point: FaultTag): Promise<boolean> {
    const previous = await pointedGeneration(this.device.places, "previous");
    const what = work === "update" ? this.release(to).reference : String(previous ?? 0);
    const program = join(import.meta.dirname, "agent-program.ts");
    const stamps = join(this.root, `../stamps-${++starts}`);
    const child = spawn(process.execPath, [program, this.root, work, what, serviceUnit("bad")], {
      stdio: "ignore",
      env: { ...process.env, MOS_FAULT: `${point}:kill`, MOS_FAULT_STAMPS: stamps },
    });
    const [, signal] = await once(child, "close");
    if (signal === "SIGKILL") Run.kills++;
    return signal === "SIGKILL";
  }

  async step(step: Step): Promise<void> {
    const { work, to, point, isPowerCut } = step;
    const { model } = this;
    const tell = () => (work === "update" ? model.update(to) : model.rollback());
    // Without anything before it a rollback has nothing to be interrupted in.
    if (point === undefined || (work === "rollback" && model.previous === undefined)) {
      expect(await this.whole(step)).toBe(tell());
    } else {
      const wasKilled = await this.killed(step, point);
      if (!wasKilled || !undecided.has(point)) tell();
    }
    // What a killed agent had started runs on, which the service manager of this process cannot know.
    for (const service of ["web", "more"]) this.device.systemd.up.add(serviceUnit(service));
    if (isPowerCut) switchOn(this.device);
    await recover(this.device);
    await this.compare();
  }

  private async compare(): Promise<void> {
    const { places } = this.device;
    const digestAt = async (pointer: "current" | "previous"): Promise<Digest | undefined> => {
      const number = await pointedGeneration(places, pointer);
      return number === undefined ? undefined : digestOf((await readGeneration(places, number)).manifest);
    };
    const nameOf = (digest: Digest | undefined) =>
      digest === undefined ? undefined : releases.findIndex((release) => release.digest === digest);
    const failed = (await readFailures(places)).map(({ digest }) => nameOf(digest));
    expect({
      current: nameOf(await digestAt("current")),
      previous: nameOf(await digestAt("previous")),
      failed: new Set(failed),
    }).toEqual({ current: this.model.current, previous: this.model.previous, failed: this.model.failed });
  }
}

test("a device and its model agree, whatever happens in whatever order", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const run = new Run();
      for (const step of sequence) await run.step(step);
    }),
    { numRuns: 12, seed, endOnFailure: true },
  );
  expect(Run.kills).toBeGreaterThan(5);
});
