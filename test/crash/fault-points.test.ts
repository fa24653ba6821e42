// F01, F04: at every fault point the agent is killed, or the step fails. The agent that starts next brings the device to
// exactly the old generation or the new, and the same done again ends as it should.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, test, vi } from "vitest";
import { rollback } from "../../src/agent/rollback.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { serviceUnit } from "../../src/services/unit-names.ts";
import { type FaultTag, faultTags } from "../../src/system/fault.ts";
import type { AgentWork } from "./agent-program.ts";
import { apply, crashBench } from "./bench.ts";
import { bootAndCheck, type Device, newDevice, recover, switchOn } from "./device.ts";
import type { Published } from "./releases.ts";

const bench = crashBench();
afterEach(() => {
  vi.unstubAllEnvs();
});

/** A piece of work that comes past a fault point. */
type Work = "update" | "handover" | "update that fails" | "rollback" | "boot" | "boot in a trial";

function workOf(tag: FaultTag): Work {
  const [room] = tag.split(".");
  if (tag === "commit.record") return "handover";
  if (room === "rollback") return "rollback";
  if (room === "revert") return "update that fails";
  if (room === "boot") return "boot";
  return room === "resume" ? "boot in a trial" : "update";
}

const failing = [serviceUnit("bad")];

interface Case {
  readonly device: Device;
  readonly root: string;
  /** What the program is told. */
  readonly words: readonly [AgentWork, ...string[]];
  readonly again: () => Promise<unknown>;
  readonly current: readonly Digest[];
  readonly after: Digest;
}

async function makeCase(work: Work): Promise<Case> {
  const root = join(mkdtempSync(join(bench().directory, "fault-")), "device");
  const device = newDevice(root, bench().signers.ca.pem);
  for (const unit of failing) device.systemd.failing.add(unit);
  const { project } = bench().signers;
  const one = await bench().publish({ web: ["a"] }, { serial: 1, epoch: 0 });
  await apply(device, one);
  const updateTo = (two: Published, after: Digest): Case => ({
    ...{ device, root, words: ["update", two.reference, ...failing], current: [one.digest, after], after },
    // Asked for by a person who has seen that it was not to blame.
    again: () => apply(device, two, { retry: true }),
  });
  switch (work) {
    case "update":
    case "boot in a trial": {
      const two = await bench().publish({ web: ["b"] }, { serial: 2, epoch: 0 });
      return updateTo(two, two.digest);
    }
    case "handover": {
      const revoked = ["0".repeat(64)];
      const two = await bench().publish({ web: ["b"] }, { serial: 2, epoch: 1, revoked }, [project]);
      return updateTo(two, two.digest);
    }
    case "update that fails": {
      const two = await bench().publish({ web: ["a"], bad: ["b"] }, { serial: 2, epoch: 0 });
      return updateTo(two, one.digest);
    }
    case "rollback": {
      const two = await bench().publish({ web: ["b"] }, { serial: 2, epoch: 0 });
      await apply(device, two);
      const again = () => rollback(device, 1, () => undefined);
      return {
        device,
        root,
        words: ["rollback", "1"],
        again,
        current: [one.digest, two.digest],
        after: one.digest,
      };
    }
    case "boot": {
      const again = () => recover(device);
      return { device, root, words: ["boot"], again, current: [one.digest], after: one.digest };
    }
  }
}

interface Ended {
  readonly signal: string | null;
  readonly stderr: string;
}

async function agent({ root }: Case, words: Case["words"], env: Record<string, string>): Promise<Ended> {
  const program = join(import.meta.dirname, "agent-program.ts");
  const child = spawn(process.execPath, [program, root, ...words], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, ...env },
  });
  const [stderr, [, signal]] = await Promise.all([text(child.stderr), once(child, "close")]);
  return { signal: typeof signal === "string" ? signal : null, stderr };
}

/** What must be true of a device after whatever happened to its agent. */
async function expectWhole({ device, again, current, after }: Case): Promise<void> {
  await bootAndCheck(device, { current, idmaps: new Map() }, true);
  await again().catch((error: unknown) => {
    if (asMosError(error).code !== "generation-unhealthy") throw error;
  });
  await bootAndCheck(device, { current: [after], idmaps: new Map() }, true);
}

// Those of kernel and root are gone through in test/integration/system-update.test.ts.
describe.each(faultTags.filter((tag) => !tag.startsWith("system.")))("at %s", (tag) => {
  test("the agent is killed", async () => {
    const work = workOf(tag);
    const one = await makeCase(work);
    const stamps = join(one.root, "../stamps");
    if (work === "boot in a trial") {
      const env = { MOS_FAULT: "trial.health:kill", MOS_FAULT_STAMPS: stamps };
      expect((await agent(one, one.words, env)).signal).toBe("SIGKILL");
    }
    if (work === "boot") switchOn(one.device);
    const words: Case["words"] = work === "boot in a trial" ? ["boot", "", ...failing] : one.words;
    const { signal, stderr } = await agent(one, words, {
      MOS_FAULT: `${tag}:kill`,
      MOS_FAULT_STAMPS: stamps,
    });
    expect(signal, stderr).toBe("SIGKILL");
    expect(readdirSync(stamps)).toContain(`${tag}:kill`);
    await expectWhole(one);
  });

  test.each(["eio", "enospc"])("the step fails with %s", async (kind) => {
    const work = workOf(tag);
    const one = await makeCase(work);
    vi.stubEnv("MOS_FAULT_STAMPS", join(one.root, "../stamps"));
    if (work.startsWith("boot")) {
      if (work === "boot in a trial") {
        await agent(one, one.words, {
          MOS_FAULT: "trial.health:kill",
          MOS_FAULT_STAMPS: join(one.root, "../first"),
        });
      }
      switchOn(one.device);
    }
    vi.stubEnv("MOS_FAULT", `${tag}:${kind}`);
    const ending = await (work.startsWith("boot") ? recover(one.device) : one.again()).then(
      () => "done",
      (error: unknown) => asMosError(error).code,
    );
    expect(readdirSync(join(one.root, "../stamps"))).toEqual([`${tag}:${kind}`]);
    expect(ending).toMatch(/^(done|io-failed|no-space|generation-unhealthy)$/);
    await expectWhole(one);
  });
});
