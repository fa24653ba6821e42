// A device that mosb image build made updates its kernel and root together with its services: into the new system, which
// is healthy and stays, and whose root the disk then damages; and towards one whose kernel panics, and one whose agent does
// not run, from which it comes back by itself. Under Secure Boot, with systemd-boot counting. It takes long: only when
// MOS_TEST_UPDATE says so (docs/testing.md).
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import { namedRoot } from "../../src/boot/command-line.ts";
import type { BuiltImage } from "../../src/image/build-image.ts";
import { contentIn, superblock } from "./altered-root.ts";
import { type Device, SystemFactory } from "./update-fixture.ts";

/** Beside other work a start has taken ten minutes. */
const testMs = 2_400_000;

/** A file of the root that nothing there reads by itself. */
const large = "/usr/share/zsh/vendor-completions/_systemctl";

const diskBytes = 5 * 1024 ** 3;

let systems: SystemFactory;
let started: Device | undefined;
/** The system that the device is updated to. */
let second: BuiltImage;

/**
 * Stands for the agent in a system where it does not run: the first time nowhere, and the second time only in the
 * initrd.
 */
const deadAgent = `#!/bin/sh
case $1 in
--stage=initrd)
  [ -e /var/lib/dead-agent ] && exec /usr/sbin/mosd "$@"
  : > /var/lib/dead-agent
  ;;
esac
echo "the agent ends at once: $1" >&2
exit 1
`;

beforeAll(async () => {
  systems = await SystemFactory.create();
  const first = await systems.build("1.0", { services: await systems.publish(1) });
  second = await systems.build("1.1");
  const dead = await systems.build("1.3", {}, [
    { path: "/usr/lib/mos/mosd", content: deadAgent, mode: "0755" },
  ]);
  const sources = (image: BuiltImage) => ({
    hostfs: `oci:${image.targets}:hostfs`,
    bootkit: `oci:${image.targets}:bootkit`,
  });
  await systems.publish(2, { ...sources(second), tries: 3 });
  // The kernel finds no first program in the initrd, and no root by itself.
  const panics = await systems.bootkit("1.2", `${second.targetsCommandLine} rdinit=/nowhere panic=1`);
  await systems.publish(3, { ...sources(second), bootkit: panics, tries: 3 });
  await systems.publish(4, { ...sources(dead), tries: 2 });
  started = await systems.start(first, diskBytes);
  await started.start();
  systems.mark("the first system is up");
}, 2_400_000);
afterAll(() => systems?.dispose(started));

const device = (): Device => started ?? expect.fail("the machine did not start");
const says = (script: string): Promise<string> => device().says(script);
const isWell = ({ health, transaction }: Status): boolean => health === "ok" && transaction === undefined;

/** Starts a release that was stored, until it was given up and the device is where it was. */
async function giveUp(generation: number): Promise<void> {
  const before = (await device().until("an answer", () => true)).generation;
  await says("mosctl update --reboot");
  const status = await device().until(
    "the device to give it up",
    ({ failures, transaction }) => failures?.[0]?.generation === generation && transaction === undefined,
  );
  expect(status.failures?.[0]?.code).toBe("boot-failed");
  expect(status.generation?.manifestDigest).toBe(before?.manifestDigest);
  expect(await says("cat /proc/cmdline")).toBe(second.targetsCommandLine);
  // The agent sees to that when it has told systemd that it is up.
  const images = async () => (await device().images()).join();
  await device().machine.waitFor(
    "its image to go",
    async () => (await images()) === "demo_1.0.efi,demo_1.1.efi" || undefined,
    300_000,
  );
  expect(await says("mosctl status")).toContain(`generation ${generation} was given up`);
}

/** The lowest layer of the second system's root: Debian. */
function rootLayer(): string {
  return (
    namedRoot(second.targetsCommandLine ?? "")?.stored?.[0]?.digest ?? expect.fail("the image names no root")
  );
}

describe.runIf(process.env["MOS_TEST_UPDATE"] !== undefined)("a device with systemd-boot", () => {
  test(
    "counts its first system as good once it runs",
    async () => {
      await device().until(
        "the first release to run",
        (status) => isWell(status) && status.generation?.number === 1,
      );
      await device().machine.waitFor(
        "the image to be called good",
        async () => ((await device().images()).join() === "demo_1.0.efi" ? true : undefined),
        300_000,
      );
      expect(Number(await says("stat -f -c '%b %S' /var | awk '{ print $1 * $2 }'"))).toBeGreaterThan(
        diskBytes / 2,
      );
      systems.mark("the first release runs");
    },
    testMs,
  );

  test(
    "stores a new kernel and root beside its own, and leaves what runs alone",
    async () => {
      const before = await says("systemctl show -P InvocationID mos-svc-web.service");
      const result = await device().update(2);
      expect(result).toMatchObject({ outcome: "awaits-reboot", generation: 2, restarted: [] });
      systems.mark("the second system is stored");
      expect(await device().images()).toEqual(["demo_1.0.efi", "demo_1.1+3.efi"]);
      expect(await says("systemctl show -P InvocationID mos-svc-web.service")).toBe(before);
      const status = await device().until("an answer", () => true);
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
      const status = await device().until(
        "the second system to be kept",
        ({ generation, transaction }) => generation?.number === 2 && transaction === undefined,
      );
      systems.mark("the second system is up and kept");
      expect(await says("cat /proc/cmdline")).toBe(second.targetsCommandLine);
      expect(await says("dmsetup status root")).toMatch(/ verity V/);
      expect(await says(". /etc/os-release; echo $IMAGE_VERSION")).toBe("1.1");
      expect(status.system?.hostfs).toMatch(/^sha256:/);
      expect(status.bootTargets.map(({ state }) => state)).toEqual(["running", "running"]);
      expect(await device().images()).toEqual(["demo_1.0.efi", "demo_1.1.efi"]);
      expect(await says("systemctl --failed --no-legend --plain")).toBe("");
      const well = await device().until("the services to be well", isWell);
      expect(well.services).toMatchObject([{ name: "web", version: "2" }]);
      expect(well.boot?.initrd.outcome).toBe("applied");
    },
    testMs,
  );

  test(
    "reads nothing of its root that the disk has changed",
    async () => {
      const layer = join(second.targets ?? "", "blobs/sha256", rootLayer().slice("sha256:".length));
      const { stdout: good } = await device().tries(["cat", large]);
      await device().damage(
        rootLayer(),
        await contentIn(systems.factory, large, layer),
        "echo 3 > /proc/sys/vm/drop_caches",
      );
      const { exitCode, stdout, stderr } = await device().tries(["cat", large]);
      expect([exitCode, stderr.trim()]).toEqual([1, `cat: ${large}: Input/output error`]);
      expect(good.length).toBeGreaterThan(stdout.length);
      expect(good.startsWith(stdout)).toBe(true);
      expect(await says("dmesg")).toMatch(/device-mapper: verity: .* data block \d+ is corrupted/);
      const { damage } = await device().until("an answer", () => true);
      expect(damage).toMatchObject([{ code: "layer-corrupt", about: rootLayer() }]);
    },
    testMs,
  );

  test(
    "starts the system of before when the disk has damaged its root, and says so",
    async () => {
      await device().damage(rootLayer(), superblock, "systemctl --no-block reboot");
      const status = await device().until("the first system to run", ({ system }) => {
        return system !== undefined && system.hostfs === undefined;
      });
      systems.mark("the first system is back");
      expect(device().seen("this system did not start: starting demo_1.0.efi instead")).toBe(1);
      expect(status).toMatchObject({ generation: { number: 1 }, damage: [{ code: "boot-failed" }] });
      expect(await device().images()).toEqual(["demo_1.0.efi", "demo_1.1.efi"]);
      await device().until("its services to be well", isWell);
    },
    testMs,
  );

  test(
    "fetches the damaged root again with the next update, and starts it",
    async () => {
      const result = await device().update(2);
      expect(result.outcome).toBe("awaits-reboot");
      expect(result.fetchedBytes).toBeGreaterThan(0);
      await says("mosctl update --reboot");
      await device().until("the second system to be kept", (status) => {
        return status.system?.hostfs !== undefined && isWell(status) && status.damage === undefined;
      });
      expect(await device().images()).toEqual(["demo_1.0.efi", "demo_1.1.efi"]);
      expect(await says(`cat ${large}`)).not.toBe("");
      systems.mark("the second system is mended");
    },
    testMs,
  );

  test(
    "comes back by itself from a kernel that panics, and says so",
    async () => {
      const boot = await says("cat /proc/sys/kernel/random/boot_id");
      const { outcome, generation } = await device().update(3);
      expect(outcome).toBe("awaits-reboot");
      expect(await device().images()).toEqual(["demo_1.0.efi", "demo_1.1.efi", "demo_1.2+3.efi"]);
      systems.mark("the panicking system is stored");
      expect(device().seen("Kernel panic")).toBe(0);
      await giveUp(generation);
      systems.mark("the second system is back");
      expect(device().seen("Kernel panic")).toBe(3);
      expect(await says("cat /proc/sys/kernel/random/boot_id")).not.toBe(boot);
      const again = await device().tries(["mosctl", "update", "--json", "oci:/run/releases/3:latest"]);
      expect(again.exitCode).not.toBe(0);
    },
    testMs,
  );

  test(
    "comes back by itself from a system whose agent does not run, in the initrd or at all, and does not wait long",
    async () => {
      const { outcome, generation } = await device().update(4);
      expect(outcome).toBe("awaits-reboot");
      expect(await device().images()).toEqual(["demo_1.0.efi", "demo_1.1.efi", "demo_1.3+2.efi"]);
      systems.mark("the system with the dead agent is stored");
      const begun = performance.now();
      await giveUp(generation);
      systems.mark("the second system is back: done");
      expect(device().seen("the stage in the initrd was interrupted, in a system that is on trial")).toBe(1);
      expect(device().seen("this system is on trial, and did not start: trying again")).toBe(1);
      // More than once when the agent fails again while the system is going down.
      expect(device().seen("Starting mos-trial.service")).toBeGreaterThan(0);
      // units/mos-trial.timer alone would take 20 minutes for the second try.
      expect(performance.now() - begun).toBeLessThan(18 * 60_000);
    },
    testMs,
  );

  test(
    "starts the system of before when what its first program needs cannot be read, after it has tried",
    async () => {
      const [panics, instead] = [
        device().seen("Kernel panic"),
        device().seen("starting demo_1.0.efi instead"),
      ];
      const library = await says("ls /usr/lib/*/systemd/libsystemd-shared-*.so");
      const layer = join(second.targets ?? "", "blobs/sha256", rootLayer().slice("sha256:".length));
      const at = await contentIn(systems.factory, library, layer);
      await device().damage(rootLayer(), at, "systemctl --no-block reboot");
      const status = await device().until("the first system to run", ({ system }) => {
        return system !== undefined && system.hostfs === undefined;
      });
      systems.mark("the first system is back, after five panics");
      expect(device().seen("Kernel panic") - panics).toBe(5);
      expect(device().seen("5 starts of demo_1.1.efi came out of the initrd")).toBe(1);
      expect(device().seen("starting demo_1.0.efi instead") - instead).toBe(1);
      expect(status).toMatchObject({ generation: { number: 1 }, damage: [{ code: "boot-failed" }] });
      await device().until("its services to be well", isWell);
    },
    testMs,
  );
});
