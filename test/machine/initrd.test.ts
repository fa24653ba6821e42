// Boots that begin in an initrd: where the state is found, what becomes of a boot without it, and what a person sees of
// it. Two machines boot beside each other, one case after the other; each boot is also the reboot after the one before.
import { copyFile, mkdtemp, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BootStatus } from "../../src/agent/status-model.ts";
import { guestInitrd } from "../../tools/guest-initrd.ts";
import {
  acceptReleases,
  initrdWith,
  makeVar,
  type Observation,
  partitioned,
  StagedMachine,
} from "./initrd-fixture.ts";

let work: string;
const path = (name: string): string => join(work, name);
const lanes: Promise<unknown>[] = [];
const boots = new Map<string, Promise<Observation>>();

/** What a boot looked like; fails as the boot did. */
async function seen(name: string): Promise<Observation> {
  return await (boots.get(name) ?? expect.fail(`there was no boot ${name}`));
}

/** Cases of one machine, in order. A failure of one fails those after it. */
type Case = readonly [name: string, boot: (machine: StagedMachine) => Promise<Observation>];

function lane(name: string, first: () => Promise<StagedMachine>, cases: readonly Case[]): void {
  let last: Promise<unknown> = first();
  const machine = last as Promise<StagedMachine>;
  for (const [title, boot] of cases) {
    const before = last;
    const one = before.then(async () => await boot(await machine));
    boots.set(title, one);
    // Told by the test that asks for it.
    one.catch(() => undefined);
    last = one;
  }
  lanes.push(
    last
      .catch(() => undefined)
      .then(async () => (await machine.catch(() => undefined))?.[Symbol.asyncDispose]()),
  );
  void name;
}

const labelled = "LABEL=mos-state /var ext4";

beforeAll(async () => {
  work = await mkdtemp("/var/tmp/mos-initrd-test-");
  const { device, ca } = await acceptReleases(work, [1, 2]);
  await makeVar(path("label.img"), device, ["-L", "mos-state"]);
  await makeVar(path("plain.img"), device);
  await partitioned(path("gpt.img"), path("plain.img"));
  const base = await guestInitrd();
  const policy = (more: object) => JSON.stringify({ version: 1, anchors: ["initrd"], ...more });
  const trust = (more: object = {}) => ({
    "etc/mos/initrd/manifestCA.pem": ca,
    "etc/mos/initrd/policy.json": policy(more),
    // A disk that answers only after a while: slowdisk=SECONDS on the kernel's command line.
    "etc/udev/rules.d/00-slow.rules":
      'SUBSYSTEM=="block", KERNEL=="ubdb*", IMPORT{cmdline}="slowdisk"\nSUBSYSTEM=="block", KERNEL=="ubdb*", ENV{slowdisk}=="?*", PROGRAM="/usr/bin/sleep $env{slowdisk}"\n',
  });
  await initrdWith(path("initrd"), base, trust());
  await initrdWith(path("strict-initrd"), base, trust({ bootOn: ["applied", "no-generation"] }));
  const first = (name: string, disk: string) => () =>
    StagedMachine.boot(name, { initrd: path("initrd"), disks: [path(disk)], kernelArguments: [] });

  lane("label", first("initrd-label", "label.img"), [
    ["label", async (one) => (await one.machine.booted(), await one.observe())],
    [
      "x-initrd.mount",
      async (one) => {
        await one.setFstab(`${labelled} defaults,x-initrd.mount 0 2`);
        await one.reboot();
        return await one.observe();
      },
    ],
    [
      "slow",
      async (one) => {
        await one.setFstab(`${labelled} defaults,nofail,x-systemd.device-timeout=120s 0 2`);
        await one.reboot({ kernelArguments: ["slowdisk=6"] });
        return await one.observe();
      },
    ],
    [
      "late",
      async (one) => {
        await one.reboot({ kernelArguments: ["slowdisk=60", "mos.state-timeout=2"] });
        return await one.observe();
      },
    ],
    [
      "after late",
      async (one) => {
        await one.reboot({ kernelArguments: [] });
        return await one.observe();
      },
    ],
  ]);
  lane("gpt", first("initrd-gpt", "gpt.img"), [
    ["gpt", async (one) => (await one.machine.booted(), await one.observe())],
    [
      "missing",
      async (one) => {
        await one.setFstab("/dev/ubdb1 /var ext4 defaults,nofail,x-systemd.device-timeout=2s 0 2");
        await one.reboot({ disks: [], kernelArguments: ["mos.state-timeout=2"] });
        return await one.observe();
      },
    ],
  ]);
  await Promise.all(lanes);
}, 900_000);
afterAll(async () => {
  await Promise.all(lanes);
  await rm(work, { recursive: true, force: true });
});

const began = ({ status }: Observation): BootStatus => status.boot ?? expect.fail("status says nothing of it");

describe("debug", () => {
  it("prints", async () => {
    for (const [name, one] of boots) {
      const { log, status, ...more } = await one.catch((e) => ({ log: [], status: { e: String(e) } }) as never);
      console.log(name, JSON.stringify(more), JSON.stringify(status.boot), status.health ?? status);
      console.log(log.filter((line: string) => /[Rr]eload/.test(line)).join("\n"));
    }
    void stat;
    void open;
    void copyFile;
    void began;
    void seen;
  });
});
