// F01, F03: the power goes at every change that mos makes to the disk, and each time the disk holds any of what it may
// hold then (disk.ts). The device boots with exactly the old generation or the new, whole, and can do again what was cut.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { rollback } from "../../src/agent/rollback.ts";
import { update } from "../../src/agent/update.ts";
import { makeSigners, packImage, type Signers } from "../integration/refusals-fixture.ts";
import { explore, type Scenario } from "./explore.ts";
import { type LayerFile, type Published, publishRelease } from "./releases.ts";

vi.mock("../../src/system/durable.ts", async (original) => {
  const { probed } = await import("./probe.ts");
  return probed(await original());
});
vi.mock("../../src/system/process.ts", async (original) => {
  const { withPrograms } = await import("./programs.ts");
  return withPrograms(await original());
});

const seed = Number(process.env["MOS_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 32));
const directory = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "mos-crash-"));
let signers: Signers;
let states = 0;
const releases: Published[] = [];
let shared: Published;

beforeAll(async () => {
  signers = await makeSigners();
  const layers: LayerFile[] = [];
  for (const name of ["a", "b", "c"]) layers.push((await packImage(directory, 1, name)).layer);
  const [a, b, c] = layers;
  if (a === undefined || b === undefined || c === undefined) throw new Error("there are three layers");
  const publish = async (name: string, ...rest: [Parameters<typeof publishRelease>[1], number]) =>
    await publishRelease(join(directory, name), rest[0], { serial: rest[1], epoch: 0 }, [signers.project]);
  releases.push(await publish("one", [["web", a]], 1), await publish("two", [["web", b]], 2));
  shared = await publish(
    "shared",
    [
      ["web", a, c],
      ["more", b],
    ],
    3,
  );
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

const apply = async (device: AgentContext, { reference }: Published) =>
  await update(device, reference, { allowOlder: true }, () => undefined);

const release = (index: number): Published => {
  const found = releases[index];
  if (found === undefined) throw new Error(`there is no release ${index}`);
  return found;
};

async function run(name: string, scenario: Scenario): Promise<void> {
  const start = performance.now();
  const found = await explore({ directory, caPem: signers.ca.pem }, scenario, seed);
  states += found.states;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  report(`${name}: seed ${seed}, ${JSON.stringify(found)}, ${seconds} s`);
  expect(found.old).toBeGreaterThan(0);
  expect(found.new).toBeGreaterThan(0);
}

/** For whoever wants to repeat a run: vitest shows what a test prints. */
function report(line: string): void {
  process.stdout.write(`${line}\n`);
}

describe("a power cut", { timeout: 600_000 }, () => {
  test("in the first update", async () => {
    await run("first update", {
      prepare: async () => undefined,
      work: (device) => apply(device, release(0)),
      before: undefined,
      after: release(0).digest,
    });
  });

  test("in the second update", async () => {
    await run("second update", {
      prepare: (device) => apply(device, release(0)),
      work: (device) => apply(device, release(1)),
      before: release(0).digest,
      after: release(1).digest,
    });
  });

  test("in an update that shares layers and brings a service more", async () => {
    await run("update with shared layers", {
      prepare: (device) => apply(device, release(0)),
      work: (device) => apply(device, shared),
      before: release(0).digest,
      after: shared.digest,
    });
  });

  test("in a rollback", async () => {
    await run("rollback", {
      prepare: async (device) => {
        await apply(device, release(0));
        await apply(device, release(1));
      },
      work: (device) => rollback(device, 1, () => undefined),
      before: release(1).digest,
      after: release(0).digest,
    });
  });

  test("was tried in all of the states that were wanted", () => {
    report(`${states} states`);
    expect(states).toBeGreaterThan(1000);
  });
});
