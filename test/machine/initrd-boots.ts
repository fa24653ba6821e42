// The boots that initrd.test.ts looks at: two machines beside each other, one boot after the other, each of them also the
// reboot after the one before.
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
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
import { interruptRemoval, levelFile, putLevels, putSignedFiles, volume } from "./signed-files.ts";

/** Files of the test by name. */
type Files = (name: string) => string;

/** A boot: what is done with the running machine, and how it is started again, or nothing for the first. */
type Step = (machine: StagedMachine) => Promise<void>;

const labelled = "LABEL=mos-state /var ext4";

/** State on a file system with a label: on a slow disk, in /etc/fstab, too late, on a copy below an ostree. */
const labelSteps = (path: Files): Readonly<Record<string, Step>> => ({
  "late label": async () => undefined,
  fstab: async (one) => {
    await one.setFstab(`${labelled} defaults 0 2`);
    await addBlockingUnit(one);
    await putSignedFiles(one.machine);
    await putLevels(one.machine);
    await one.reboot({ kernelArguments: [] });
  },
  "x-initrd.mount": async (one) => {
    await one.machine.exec("systemctl disable blocking.service");
    await one.machine.putFile("/var/quadlets/unsigned.volume", volume);
    // As an /etc that begins anew at each boot.
    await one.machine.exec(`mosctl set install /root/m1 && mosctl set install /root/m2 && rm ${levelFile}`);
    await one.setFstab(`${labelled} defaults,x-initrd.mount 0 2`);
    await one.reboot();
  },
  "initramfs-tools": async (one) => {
    await one.setFstab(`${labelled} defaults 0 2`);
    await one.machine.exec("rm /var/quadlets/unsigned.volume");
    await one.machine.exec(`mosctl set remove --level machine:m1 fleet && rm ${levelFile}`);
    await one.reboot({ initrd: path("classic-initrd") });
  },
  "too late": async (one) => {
    await one.setFstab(`${labelled} defaults,x-systemd.device-timeout=120s 0 2`);
    await one.machine.exec(`rm ${levelFile}`);
    const kernelArguments = ["slowdisk=later", "mos.state-timeout=2"];
    await one.reboot({ initrd: path("initrd"), kernelArguments });
  },
  "old podman": async (one) => {
    await one.machine.exec(oldPodman);
    await one.reboot({ kernelArguments: [] });
  },
  ostree: async (one) => {
    await interruptRemoval(one.machine);
    await one.machine.exec("mkdir -p /ostree/deploy/fleet/var && cp -a /var/. /ostree/deploy/fleet/var/");
    await one.setFstab("");
    await one.reboot({ disks: [], kernelArguments: ["ostree=/ostree/boot.1/fleet/0123abcd/0"] });
  },
});

/** State in a partition of its own: missing and back again, on trial, damaged. */
const partitionSteps = (path: Files): Readonly<Record<string, Step>> => ({
  "partition type": async () => undefined,
  missing: async (one) => {
    await putSignedFiles(one.machine, "/usr/share/factory/apps");
    await one.setFstab(
      "/dev/ubdb1 /var/lib/mos ext4 defaults,nofail,x-systemd.device-timeout=2s,X-mount.subdir=lib/mos 0 2",
    );
    await one.reboot({ disks: [], kernelArguments: ["mos.state-timeout=2"] });
  },
  "back again": async (one) => {
    await one.machine.exec("rm -r /var/quadlets");
    await one.reboot({ disks: [path("gpt.img")] });
  },
  trial: async (one) => {
    await one.reboot({ disks: [path("trial.img")] });
    await one.machine.waitFor(
      "the trial to be over",
      async () => ((await one.status()).transaction === undefined ? true : undefined),
      120_000,
    );
  },
  "damaged generation": async (one) => {
    await one.machine.exec("printf x >> /var/lib/mos/generations/2/install.json; sync");
    await one.machine.powerCut();
    await one.machine.start();
    await one.machine.booted();
  },
  "everything damaged": async (one) => {
    await one.machine.exec("printf x >> /var/lib/mos/generations/1/install.json");
    await one.reboot();
  },
  "damaged file system": async (one) => {
    await one.reboot({ disks: [path("noise.img")] });
  },
});

/** A unit before basic.target that waits for a start: what mosd must not do. */
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

/**
 * A disk that answers only after a while: slowdisk=SECONDS on the kernel's command line; or, with slowdisk=later, not
 * before the real root, which has no such rule.
 */
const slowDisk = `SUBSYSTEM!="block", GOTO="end"
KERNEL!="ubdb*", GOTO="end"
IMPORT{cmdline}="slowdisk"
ENV{slowdisk}=="later", ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"
ENV{slowdisk}=="[0-9]*", PROGRAM="/usr/bin/sleep $env{slowdisk}"
LABEL="end"
`;

async function makeImages(path: Files): Promise<string> {
  const { device, ca } = await acceptReleases(path(""), [1, 2]);
  await makeVar(path("label.img"), device, ["-L", "mos-state"]);
  await makeVar(path("plain.img"), device);
  await partitioned(path("gpt.img"), path("plain.img"));
  await copyFile(path("gpt.img"), path("noise.img"));
  const [start, length] = [1024 * 1024, 8 * 1024 * 1024];
  await overwrite(path("noise.img"), start, length);
  await onTrial(device);
  await makeVar(path("plain.img"), device);
  await partitioned(path("trial.img"), path("plain.img"));
  return ca;
}

async function makeInitrds(path: Files, ca: string): Promise<void> {
  // What of signed sets in levels is for the device.
  const own = { machine: "m1", classes: ["lab", "kiosk"] };
  const trust = (more: object = {}) => ({
    "etc/mos/initrd/manifestCA.pem": ca,
    "etc/mos/initrd/policy.json": JSON.stringify({ version: 1, anchors: ["initrd"], ...own, ...more }),
    "usr/lib/udev/rules.d/00-slow.rules": slowDisk,
  });
  const base = await guestInitrd();
  await initrdWith(path("initrd"), base, trust());
  await initrdWith(path("classic-initrd"), await guestInitrd({ maker: "initramfs-tools" }), trust());
  await initrdWith(path("strict-initrd"), base, trust({ bootOn: ["applied", "no-generation"] }));
}

/** Boots a machine, takes its steps, and says through `seen` what each boot looked like. Ends the machine. */
async function lane(
  machine: StagedMachine,
  steps: Readonly<Record<string, Step>>,
  seen: Map<string, Observation | Error>,
): Promise<void> {
  await using one = machine;
  await one.machine.booted();
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step(one);
      seen.set(name, await one.observe());
    } catch (error) {
      // Those after it say that there was no such boot.
      seen.set(name, asMosError(error));
      return;
    }
  }
}

/** A device whose policy does not let it boot on without its state: how its console ends. */
async function refusedBoot(path: Files): Promise<string> {
  const kernelArguments = ["mos.state=partition", "mos.state-timeout=1"];
  try {
    const start = { initrd: path("strict-initrd"), disks: [], kernelArguments };
    await using staged = await StagedMachine.boot("initrd-strict", start);
    return `it booted on: ${staged.machine.console()}`;
  } catch (error) {
    return asMosError(error).message;
  }
}

export interface Boots {
  /** By name. */
  readonly seen: ReadonlyMap<string, Observation | Error>;
  /** Console of the boot that the policy ends. */
  readonly refused: string;
}

/** Boots them all; some minutes. */
export async function bootAll(): Promise<Boots> {
  const work = await mkdtemp("/var/tmp/mos-initrd-test-");
  const path: Files = (name) => join(work, name);
  try {
    await makeInitrds(path, await makeImages(path));
    const seen = new Map<string, Observation | Error>();
    const first = (name: string, disk: string, kernelArguments: readonly string[]) =>
      StagedMachine.boot(name, { initrd: path("initrd"), disks: [path(disk)], kernelArguments });
    const slow = first("initrd-label", "label.img", ["mos.state=partition", "slowdisk=10"]);
    const [, refused] = await Promise.all([
      slow.then((machine) => lane(machine, labelSteps(path), seen)),
      first("initrd-gpt", "gpt.img", [])
        .then((machine) => lane(machine, partitionSteps(path), seen))
        // Two processors: after the machine before it.
        .then(() => refusedBoot(path)),
    ]);
    return { seen, refused };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
