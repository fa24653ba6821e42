// A device that mosb image build made updates its kernel and root together with its services: into the new system, which
// is healthy and stays; and towards one whose kernel panics, from which it comes back by itself. Under Secure Boot, with
// systemd-boot counting. It takes long: only when MOS_TEST_UPDATE says so (docs/testing.md).
import { mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { UpdateResult } from "../../src/agent/update.ts";
import type { BuiltImage } from "../../src/image/build-image.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { createQemu } from "../../src/machine/qemu.ts";
import { run } from "../../src/system/process.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { Factory } from "./harness.ts";
import { systemDescription } from "./system-image.ts";

/** Everything is emulated, and a machine may have other work. */
const bootMs = 1_800_000;
/** Beside other work a start has taken ten minutes. */
const testMs = 2_400_000;

const diskBytes = 5 * 1024 ** 3;

let factory: Factory;
let machine: Machine | undefined;
/** The system that the device is updated to. */
let second: BuiltImage;
const marks: string[] = [];
const begun = performance.now();

function mark(what: string): void {
  marks.push(`${Math.round((performance.now() - begun) / 1000)} s: ${what}`);
}

/** Publishes release N with a service of that version, and more targets. @returns its reference on this machine */
async function publish(serial: number, targets = ""): Promise<string> {
  const file = factory.path(`manifest${serial}.yaml`);
  await writeFile(
    file,
    `version: 1
product: ${factory.product}
release: { serial: ${serial} }
health: { settle: 5, tries: 3 }
targets:
  - service_name: web
    version: "${serial}"
    source: "rootfs:${await busyboxRoot()}"
    nsgroup: web
    image: { entrypoint: [/bin/busybox, sleep, "10000${serial}"] }
${targets}`,
  );
  const layout = `oci:${factory.path("releases", `${serial}`)}`;
  await factory.mos("mosb", "manifest", "publish", "--project", "demo:zot", "--dest", layout, file);
  return `${layout}:latest`;
}

/** Targets for what the device starts from. */
const systemTargets = (hostfs: string, bootkit: string): string => `
  - service_name: hostfs
    version: "2"
    source: "${hostfs}"
    service_type: hostfs
  - service_name: bootkit
    version: "2"
    source: "${bootkit}"
    service_type: fs-only
`;

/** The state is encrypted to the TPM when that is asked for: it is opened for the root that is in it. */
const encrypt = process.env["MOS_TEST_UPDATE"] === "encrypted" ? { encrypt: "tpm2" } : {};

async function buildSystem(release: string, more: object): Promise<BuiltImage> {
  const file = factory.path(`image-${release}.yaml`);
  const disk = { esp: "256M", state: "2G", ...encrypt };
  await writeFile(file, await systemDescription(factory, { release, disk, ...more }));
  const lock = ["--lock", factory.path(`${release}.lock.json`)];
  const flags = ["image", "build", "--json", "--targets", ...lock, "--output", factory.path("out"), file];
  return JSON.parse(await factory.mos("mosb", ...flags));
}

/** A bootkit whose kernel names the same root as the second system, and panics at once. */
async function panickingBootkit(): Promise<string> {
  const osRelease = factory.path("os-release-3");
  const text = await readFile(factory.path("os-release"), "utf8");
  await writeFile(osRelease, `${text.trimEnd()}\nIMAGE_ID=demo\nIMAGE_VERSION=1.2\n`);
  await mkdir(factory.path("panics/bootkit"), { recursive: true });
  const key = factory.key("uki-production");
  await factory.mos(
    ...(["mosb", "uki", "build", "--linux", factory.path("vmlinuz")] as const),
    ...["--initrd", factory.path("initrd"), "--os-release", osRelease],
    // The kernel finds no first program in the initrd, and no root by itself.
    ...["--cmdline", `${second.targetsCommandLine} rdinit=/nowhere panic=1`],
    ...["--key", join(key, "privkey.pem"), "--cert", join(key, "cert.pem")],
    ...["--output", factory.path("panics/bootkit/kernel.efi")],
  );
  return `rootfs:${factory.path("panics")}`;
}

beforeAll(async () => {
  factory = await Factory.create();
  await factory.approve();
  const first = await buildSystem("1.0", { services: await publish(1) });
  second = await buildSystem("1.1", {});
  const hostfs = `oci:${second.targets}:hostfs`;
  await publish(2, systemTargets(hostfs, `oci:${second.targets}:bootkit`));
  await publish(3, systemTargets(hostfs, await panickingBootkit()));
  const releases = factory.path("releases.img");
  await run("mke2fs", ["-q", "-t", "ext4", "-d", factory.path("releases"), releases, "1500M"], {
    timeoutMs: 120_000,
  });
  // As on a disk that is larger than the image.
  await truncate(first.raw, diskBytes);
  mark("images are built");
  machine = await createQemu({
    toolsRoot: factory.image.toolsRoot,
    variables: await factory.variables("variables.fd"),
    disks: [
      { path: first.raw, readOnly: false },
      { path: releases, readOnly: true },
    ],
    tpmState: await factory.tpm("tpm"),
  });
  await machine.start();
  await machine.booted(bootMs);
  mark("the first system is up");
}, 2_400_000);
afterAll(async () => {
  if (machine !== undefined) await factory.retire("update", machine);
  process.stdout.write(`${marks.join("\n")}\n`);
  await factory?.dispose();
});

function running(): Machine {
  return machine ?? expect.fail("the machine did not start");
}

async function says(script: string): Promise<string> {
  return (await running().exec(script, { timeoutMs: 240_000 })).stdout.trim();
}

/** Until the device says so of itself; it may be going down or coming up when it is asked. */
async function until(what: string, holds: (status: Status) => boolean): Promise<Status> {
  return await running().waitFor(
    what,
    async () => {
      const asked = running().exec(["mosctl", "status", "--json"], { accept: "any", timeoutMs: 60_000 });
      const answer = await asked.catch(() => undefined);
      if (answer === undefined || !answer.stdout.startsWith("{")) return undefined;
      const status = JSON.parse(answer.stdout) as Status;
      return holds(status) ? status : undefined;
    },
    bootMs,
  );
}

async function update(release: number): Promise<UpdateResult> {
  await says(
    "mountpoint -q /run/releases || { mkdir -p /run/releases; mount -o ro /dev/vdb /run/releases; }",
  );
  const reference = `oci:/run/releases/${release}:latest`;
  const { stdout, stderr } = await running().exec(["mosctl", "update", "--json", "--wait", reference], {
    ...{ accept: "any", timeoutMs: bootMs },
  });
  expect(stdout, stderr).toMatch(/^\{/);
  return JSON.parse(stdout);
}

const images = async (): Promise<string[]> => (await says("ls /efi/EFI/Linux")).split("\n");
const isWell = ({ health, transaction }: Status): boolean => health === "ok" && transaction === undefined;

describe.runIf(process.env["MOS_TEST_UPDATE"] !== undefined)("a device with systemd-boot", () => {
  test(
    "counts its first system as good once it runs",
    async () => {
      await until("the first release to run", (status) => isWell(status) && status.generation?.number === 1);
      await running().waitFor(
        "the image to be called good",
        async () => ((await images()).join() === "demo_1.0.efi" ? true : undefined),
        300_000,
      );
      expect(Number(await says("stat -f -c '%b %S' /var | awk '{ print $1 * $2 }'"))).toBeGreaterThan(
        diskBytes / 2,
      );
      mark("the first release runs");
    },
    testMs,
  );

  test(
    "stores a new kernel and root beside its own, and leaves what runs alone",
    async () => {
      const before = await says("systemctl show -P InvocationID mos-svc-web.service");
      const result = await update(2);
      expect(result).toMatchObject({ outcome: "awaits-reboot", generation: 2, restarted: [] });
      mark("the second system is stored");
      expect(await images()).toEqual(["demo_1.0.efi", "demo_1.1+3.efi"]);
      expect(await says("systemctl show -P InvocationID mos-svc-web.service")).toBe(before);
      const status = await until("an answer", () => true);
      expect(status).toMatchObject({ rebootNeeded: true, generation: { number: 1 } });
      expect(status.transaction).toMatchObject({ phase: "reboot", from: 1, to: 2 });
      expect(await says("mosctl status")).toContain("reboot needed: generation 2");
    },
    testMs,
  );

  test(
    "starts it when told to, from the store, and keeps it when it is healthy",
    async () => {
      await says("mosctl update --reboot");
      const status = await until(
        "the second system to be kept",
        ({ generation, transaction }) => generation?.number === 2 && transaction === undefined,
      );
      mark("the second system is up and kept");
      expect(await says("cat /proc/cmdline")).toBe(second.targetsCommandLine);
      expect(await says("dmsetup status root")).toMatch(/ verity V/);
      expect(await says(". /etc/os-release; echo $IMAGE_VERSION")).toBe("1.1");
      expect(status.system?.hostfs).toMatch(/^sha256:/);
      expect(status.bootTargets.map(({ state }) => state)).toEqual(["running", "running"]);
      expect(await images()).toEqual(["demo_1.0.efi", "demo_1.1.efi"]);
      expect(await says("systemctl --failed --no-legend --plain")).toBe("");
      const well = await until("the services to be well", isWell);
      expect(well.services).toMatchObject([{ name: "web", version: "2" }]);
      expect(well.boot?.initrd.outcome).toBe("applied");
    },
    testMs,
  );

  test(
    "comes back by itself from a kernel that panics, and says so",
    async () => {
      const boot = await says("cat /proc/sys/kernel/random/boot_id");
      expect(await update(3)).toMatchObject({ outcome: "awaits-reboot", generation: 3 });
      expect(await images()).toEqual(["demo_1.0.efi", "demo_1.1.efi", "demo_1.2+3.efi"]);
      mark("the panicking system is stored");
      const panics = () => running().console().split("Kernel panic").length - 1;
      expect(panics()).toBe(0);
      await says("mosctl update --reboot");
      const status = await until(
        "the device to give it up",
        ({ failures, transaction }) => failures !== undefined && transaction === undefined,
      );
      mark("the second system is back");
      expect(panics()).toBe(3);
      expect(await says("cat /proc/sys/kernel/random/boot_id")).not.toBe(boot);
      expect(status).toMatchObject({
        generation: { number: 2 },
        failures: [{ code: "boot-failed", generation: 3 }],
      });
      expect(await says("cat /proc/cmdline")).toBe(second.targetsCommandLine);
      expect(await images()).toEqual(["demo_1.0.efi", "demo_1.1.efi"]);
      expect(await says("mosctl status")).toContain("generation 3 was given up");
      const again = await running().exec(["mosctl", "update", "--json", "oci:/run/releases/3:latest"], {
        ...{ accept: "any", timeoutMs: 240_000 },
      });
      expect(again.exitCode).not.toBe(0);
      mark("done");
    },
    testMs,
  );
});
