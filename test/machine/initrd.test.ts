// Boots that begin in an initrd: where the state is found, what becomes of a boot without it, and what a person sees of
// it. Two machines boot beside each other, one case after the other; each boot is also the reboot after the one before.
import { copyFile, mkdtemp, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BootStatus } from "../../src/agent/status-model.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { guestInitrd } from "../../tools/guest-initrd.ts";
import {
  acceptReleases,
  initrdWith,
  makeVar,
  type Observation,
  onTrial,
  overwrite,
  partitioned,
  StagedMachine,
} from "./initrd-fixture.ts";

let work: string;
const path = (name: string): string => join(work, name);
const lanes: Promise<unknown>[] = [];
let stopped: Promise<string> | undefined;
const boots = new Map<string, Promise<Observation>>();

/** What a boot looked like; fails as the boot did. */
async function seen(name: string): Promise<Observation> {
  return await (boots.get(name) ?? expect.fail(`there was no boot ${name}`));
}

/** Cases of one machine, in order. A failure of one fails those after it. */
type Case = readonly [name: string, boot: (machine: StagedMachine) => Promise<Observation>];

function lane(first: () => Promise<StagedMachine>, cases: readonly Case[]): void {
  const machine = first();
  let last: Promise<unknown> = machine;
  for (const [title, boot] of cases) {
    const one = last.then(async () => await boot(await machine));
    boots.set(title, one);
    // Told by the test that asks for it.
    one.catch(() => undefined);
    last = one;
  }
  const end = async (): Promise<void> => {
    await last.catch(() => undefined);
    const made = await machine.catch(() => undefined);
    await made?.[Symbol.asyncDispose]();
  };
  lanes.push(end());
}

const labelled = "LABEL=mos-state /var ext4";

beforeAll(async () => {
  work = await mkdtemp("/var/tmp/mos-initrd-test-");
  const { device, ca } = await acceptReleases(work, [1, 2]);
  await makeVar(path("label.img"), device, ["-L", "mos-state"]);
  await makeVar(path("plain.img"), device);
  await partitioned(path("gpt.img"), path("plain.img"));
  await onTrial(device);
  await makeVar(path("plain.img"), device);
  await partitioned(path("trial.img"), path("plain.img"));
  await copyFile(path("gpt.img"), path("noise.img"));
  await overwrite(path("noise.img"), 1024 * 1024, 8 * 1024 * 1024);
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
  await initrdWith(path("classic-initrd"), await guestInitrd({ maker: "initramfs-tools" }), trust());
  await initrdWith(path("strict-initrd"), base, trust({ bootOn: ["applied", "no-generation"] }));
  const first = (name: string, disk: string, kernelArguments: readonly string[]) => async () => {
    const start = { initrd: path("initrd"), disks: [path(disk)], kernelArguments };
    const made = await StagedMachine.boot(name, start);
    await made.machine.booted();
    return made;
  };

  lane(first("initrd-label", "label.img", ["mos.state=partition", "slowdisk=10"]), [
    ["late label", (one) => one.observe()],
    [
      "fstab",
      async (one) => {
        await one.setFstab(`${labelled} defaults 0 2`);
        await addBlockingUnit(one);
        await one.reboot({ kernelArguments: [] });
        return await one.observe();
      },
    ],
    [
      "x-initrd.mount",
      async (one) => {
        await one.machine.exec("systemctl disable blocking.service");
        await one.setFstab(`${labelled} defaults,x-initrd.mount 0 2`);
        await one.reboot();
        return await one.observe();
      },
    ],
    [
      "initramfs-tools",
      async (one) => {
        await one.setFstab(`${labelled} defaults 0 2`);
        await one.reboot({ initrd: path("classic-initrd") });
        return await one.observe();
      },
    ],
    [
      "too late",
      async (one) => {
        await one.setFstab(`${labelled} defaults,x-systemd.device-timeout=120s 0 2`);
        const kernelArguments = ["slowdisk=100", "mos.state-timeout=2"];
        await one.reboot({ initrd: path("initrd"), kernelArguments });
        return await one.observe();
      },
    ],
    [
      "old podman",
      async (one) => {
        await one.machine.exec(oldPodman);
        await one.reboot({ kernelArguments: [] });
        return await one.observe();
      },
    ],
    [
      "ostree",
      async (one) => {
        await one.machine.exec("mkdir -p /ostree/deploy/fleet/var && cp -a /var/. /ostree/deploy/fleet/var/");
        await one.setFstab("");
        await one.reboot({ disks: [], kernelArguments: ["ostree=/ostree/boot.1/fleet/0123abcd/0"] });
        return await one.observe();
      },
    ],
  ]);
  lane(first("initrd-gpt", "gpt.img", []), [
    ["partition type", (one) => one.observe()],
    [
      "missing",
      async (one) => {
        await one.setFstab(
          "/dev/ubdb1 /var/lib/mos ext4 defaults,nofail,x-systemd.device-timeout=2s,X-mount.subdir=lib/mos 0 2",
        );
        await one.reboot({ disks: [], kernelArguments: ["mos.state-timeout=2"] });
        return await one.observe();
      },
    ],
    [
      "back again",
      async (one) => {
        await one.reboot({ disks: [path("gpt.img")] });
        return await one.observe();
      },
    ],
    [
      "trial",
      async (one) => {
        await one.reboot({ disks: [path("trial.img")] });
        await one.machine.waitFor("the trial to be over", async () =>
          (await one.status()).transaction === undefined ? true : undefined,
        );
        return await one.observe();
      },
    ],
    [
      "damaged generation",
      async (one) => {
        await one.machine.exec("printf x >> /var/lib/mos/generations/2/install.json; sync");
        await one.machine.powerCut();
        await one.machine.start();
        await one.machine.booted();
        return await one.observe();
      },
    ],
    [
      "everything damaged",
      async (one) => {
        await one.machine.exec("printf x >> /var/lib/mos/generations/1/install.json");
        await one.reboot();
        return await one.observe();
      },
    ],
    [
      "damaged file system",
      async (one) => {
        await one.reboot({ disks: [path("noise.img")] });
        return await one.observe();
      },
    ],
  ]);
  stopped = refusedBoot();
  lanes.push(stopped.catch(() => undefined));
  await Promise.all(lanes);
}, 900_000);
afterAll(async () => {
  await Promise.all(lanes);
  await rm(work, { recursive: true, force: true });
});

/** A device whose policy does not let it boot on without its state: how its console ends. */
async function refusedBoot(): Promise<string> {
  // When the machines before it are through: there are two processors.
  await lanes[1];
  const kernelArguments = ["mos.state=partition", "mos.state-timeout=1"];
  try {
    const start = { initrd: path("strict-initrd"), disks: [], kernelArguments };
    await using staged = await StagedMachine.boot("initrd-strict", start);
    return `it booted on: ${staged.machine.console()}`;
  } catch (error) {
    return asMosError(error).message;
  }
}

/** A unit before basic.target that waits for a start: what mosd must not do (case C7 of the boots that were tried). */
async function addBlockingUnit({ machine }: StagedMachine): Promise<void> {
  const unit = `[Unit]\nDefaultDependencies=no\nBefore=basic.target\n[Service]\nType=oneshot\nTimeoutStartSec=4\nExecStart=systemctl start after.service\n[Install]\nWantedBy=basic.target\n`;
  await machine.putFile("/etc/systemd/system/blocking.service", unit);
  await machine.putFile(
    "/etc/systemd/system/after.service",
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n",
  );
  await machine.exec("systemctl enable blocking.service");
}

/** Makes quadlet what it was before podman 5.3: it reads /run/containers/systemd only when it is told to. */
const oldPodman = `
quadlet=/usr/libexec/podman/quadlet
mv $quadlet $quadlet.real
cat > $quadlet <<'END'
#!/bin/sh
[ "$1" = -version ] && exec echo 5.2.5
exec env QUADLET_UNIT_DIRS="\${QUADLET_UNIT_DIRS:-/etc/containers/systemd:/usr/share/containers/systemd}" /usr/libexec/podman/quadlet.real "$@"
END
chmod 755 $quadlet
/usr/lib/mos/quadlet-setup`;

const began = ({ status }: Observation): BootStatus =>
  status.boot ?? expect.fail("status says nothing of it");

/** Reloads of systemd that its own initrd-parse-etc.service did not ask for: that one is before the switch to the root. */
const reloads = ({ log }: Observation): string[] =>
  log.filter((line) => /^Reload(ing)? requested/.test(line) && !line.includes("initrd-parse-etc.service"));

const at = ({ log }: Observation, line: RegExp): number => {
  const found = log.findIndex((one) => line.test(one));
  return found === -1 ? expect.fail(`systemd has not logged ${line}`) : found;
};

/** The services were part of the first boot transaction: started once, before the boot was over, with nothing read anew. */
function expectFirstTransaction(boot: Observation): void {
  expect(reloads(boot)).toEqual([]);
  expect(boot.service).toBe("active");
  expect(boot.fragment).toBe("/run/systemd/generator/mos-svc-svc1.service");
  expect(boot.initrdBootId).toBe(boot.bootId);
  expect(boot.log.filter((line) => line.startsWith("Starting mos-svc-svc1.service"))).toHaveLength(1);
  expect(at(boot, /^Started mos-svc-svc1.service/)).toBeLessThan(
    at(boot, /^Reached target multi-user.target/),
  );
  expect(boot.status.health).toBe("ok");
  expect(began(boot).service).toBe("nothing-to-do");
  expect(boot.failedUnits).toEqual([]);
}

describe("a boot that begins in the initrd", () => {
  it.each([
    ["partition type", "found partition", "/dev/ubdb1"],
    ["late label", "found partition", "/dev/ubdb"],
    ["x-initrd.mount", "found mounted", "/dev/ubdb"],
    ["ostree", "found ostree", "/dev/ubda[/ostree/deploy/fleet/var]"],
  ])("starts services in its first transaction with state found by %s", async (name, state, source) => {
    const boot = await seen(name);
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", generation: 2, state });
    expect(boot.varSource).toBe(source);
    expectFirstTransaction(boot);
  });

  it("finds state that is only in /etc/fstab, and is not held up by a unit that blocks before basic.target", async () => {
    const boot = await seen("fstab");
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", state: "found fstab" });
    expect(boot.failedUnits).toEqual(["blocking.service"]);
    expectFirstTransaction({ ...boot, failedUnits: [] });
    expect(at(boot, /^Failed to start blocking.service/)).toBeLessThan(at(boot, /^Finished after.service/));
  });

  it("is the same with an initrd of initramfs-tools, which has no systemd", async () => {
    const boot = await seen("initramfs-tools");
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", state: "found fstab" });
    expectFirstTransaction({ ...boot, initrdBootId: boot.bootId });
  });

  it("is waited for while its storage is slow, and killed by nothing", async () => {
    const boot = await seen("late label");
    expect(at(boot, /^Finished mos-initrd-state.service/)).toBeLessThan(at(boot, /^Switching root/));
    expect(boot.log.filter((line) => /mos-initrd.*(killed|Failed)/.test(line))).toEqual([]);
  });

  it("goes on without state that comes too late, and the agent brings up what was missing", async () => {
    const boot = await seen("too late");
    expect(began(boot)).toMatchObject({
      initrd: { outcome: "no-state", state: "missing device /dev/disk/by-label/mos-state" },
      service: "applied",
    });
    expect(boot.status.health).toBe("ok");
    expect(reloads(boot).map((line) => line.replace(/.*\(unit (.*)\).*/, "$1"))).toEqual(["mosd.service"]);
    // A start that does not wait: basic.target is reached before the services are up.
    expect(at(boot, /^Reached target basic.target/)).toBeLessThan(at(boot, /^Started mos-svc-svc1.service/));
  });

  it("says that the state is missing, and the next boot with it is whole again", async () => {
    const boot = await seen("missing");
    expect(began(boot).initrd).toMatchObject({
      outcome: "no-state",
      state: "missing device /dev/ubdb1",
      error: { code: "state-missing" },
    });
    expect(boot.status.health).toBe("none");
    const next = await seen("back again");
    expect(began(next).initrd).toMatchObject({ outcome: "applied", state: "found fstab" });
    expectFirstTransaction(next);
  });

  it("says that the state's file system cannot be mounted", async () => {
    const { initrd } = began(await seen("damaged file system"));
    expect(initrd).toMatchObject({ outcome: "no-state", state: "missing mount /dev/ubdb1" });
  });

  it("brings up a generation on trial, counts the try once, and the agent decides about it", async () => {
    const boot = await seen("trial");
    expect(began(boot).initrd).toMatchObject({ outcome: "applied", generation: 2 });
    expectFirstTransaction(boot);
    expect(boot.status.generation).toMatchObject({ number: 2, previous: 1 });
    expect(boot.status.failures).toBeUndefined();
  });

  it("falls back to the generation before when the current one is damaged", async () => {
    const boot = await seen("damaged generation");
    expect(began(boot).initrd).toMatchObject({ outcome: "unhealthy-fallback", generation: 1 });
    expectFirstTransaction(boot);
    expect(boot.status.generation?.number).toBe(1);
  });

  it("starts nothing when no generation verifies, and neither does the agent", async () => {
    const boot = await seen("everything damaged");
    expect(began(boot)).toMatchObject({ initrd: { outcome: "refused" }, service: "refused" });
    expect(boot.status.health).toBe("refused");
    expect([boot.service, boot.fragment]).toEqual(["inactive", ""]);
    expect(reloads(boot)).toEqual([]);
  });

  it("is served with a podman that does not read /run/containers/systemd", async () => {
    const boot = await seen("old podman");
    expect(began(boot).initrd.outcome).toBe("applied");
    expectFirstTransaction(boot);
  });

  it("ends, without a shell, where the policy does not let it go on", async () => {
    const console = await (stopped ?? expect.fail("it was not tried"));
    expect(console).toContain("the guest's machine ended while booting");
    expect(console).toContain("this boot ends here");
    expect(console).not.toContain("Switching root");
  });
});

describe("the initrd", () => {
  it("has no program of mos in it, and grows by kilobytes", async () => {
    const plain = await stat(await guestInitrd({ withMos: false }));
    const { size } = await stat(await guestInitrd());
    expect(size - plain.size).toBeLessThan(64 * 1024);
  });
});
