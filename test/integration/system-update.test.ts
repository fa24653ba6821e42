// Kernel and root change together with the services: on a device in a directory, from one start to the next. A machine
// with firmware does it in test/secure/update.test.ts.
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type BootOutcome, boot } from "../../src/agent/boot.ts";
import { rollback } from "../../src/agent/rollback.ts";
import { status } from "../../src/agent/status.ts";
import { settleSystems } from "../../src/agent/system-boot.ts";
import { watchTrial } from "../../src/agent/trial.ts";
import { namedRoot } from "../../src/boot/command-line.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { pointedGeneration } from "../../src/generation/generations.ts";
import { storePath } from "../../src/generation/places.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { serviceUnit } from "../../src/services/unit-names.ts";
import type { FaultTag } from "../../src/system/fault.ts";
import { temporaryDirectory } from "../support.ts";
import { updateEnding } from "./device-fixture.ts";
import { damageBlob } from "./refusals-fixture.ts";
import { BootedDevice, factoryCommandLine, kernelImage, Publisher } from "./system-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let publisher: Publisher;
/** Services alone; then with one system and with another; then one that names the second's root and panics. */
let plain: string;
let second: string;
let third: string;
let panics: string;
let work: string;
beforeAll(async () => {
  work = await makeWorkDirectory();
  publisher = await Publisher.create(work);
  plain = await publisher.release("a");
  second = await publisher.release("b", await publisher.system("1.1"));
  third = await publisher.release("c", await publisher.system("1.2"));
  panics = await publisher.release("d", await publisher.system("1.3", "1.1"));
});

afterAll(() => rm(work, { recursive: true, force: true }));

/** What the agent does at its start, with what comes of a trial. @returns how the boot, and the trial, ended */
async function agent(device: BootedDevice): Promise<{ outcome: BootOutcome; verdict: string | undefined }> {
  const { outcome } = await boot(device.context);
  if (!("trial" in outcome) || outcome.trial === undefined) {
    await settleSystems(device.context);
    return { outcome, verdict: undefined };
  }
  try {
    await watchTrial(device.context, outcome.trial);
    return { outcome, verdict: "kept" };
  } catch (error) {
    return { outcome, verdict: asMosError(error).code };
  }
}

/** A device on which the plain release runs, from its factory's system. */
async function newDevice(): Promise<BootedDevice> {
  const device = await BootedDevice.create(await temporaryDirectory(), publisher);
  await agent(device);
  expect((await updateEnding(device.context, plain)).code).toBe("updated");
  return device;
}

/** And that was updated to a release with a system, and started anew. */
async function updatedDevice(...references: readonly string[]): Promise<BootedDevice> {
  const device = await newDevice();
  for (const reference of references) {
    expect((await updateEnding(device.context, reference)).code).toBe("awaits-reboot");
    await device.start();
    expect((await agent(device)).verdict).toBe("kept");
  }
  return device;
}

const current = ({ context }: BootedDevice) => pointedGeneration(context.places, "current");
const foreign = "other-system.efi";

describe("the system that a device comes with", () => {
  test("counts as good once it runs", async () => {
    const device = await BootedDevice.create(await temporaryDirectory(), publisher);
    expect(await device.files()).toEqual(["demo_1.0+2-1.efi", foreign]);
    await agent(device);
    expect(await device.files()).toEqual(["demo_1.0.efi", foreign]);
  });
});

describe("an update to another system", () => {
  test("waits for the device to be started anew, and touches no service before", async () => {
    const device = await newDevice();
    device.manager.calls.length = 0;
    const before = await readFile(join(device.images, "demo_1.0.efi"));
    expect((await updateEnding(device.context, second)).code).toBe("awaits-reboot");
    expect(device.manager.calls).toEqual([]);
    expect(await device.files()).toEqual(["demo_1.0.efi", "demo_1.1+3.efi", foreign]);
    expect(await readFile(join(device.images, "demo_1.0.efi"))).toEqual(before);
    expect(await status(device.context)).toMatchObject({
      rebootNeeded: true,
      generation: { number: 1 },
      transaction: { phase: "reboot", from: 1, to: 2 },
    });
    // Asked once more, there is nothing more to do.
    expect((await updateEnding(device.context, second)).code).toBe("awaits-reboot");
    expect(await current(device)).toBe(1);
  });

  test("that was damaged while it waited gives way to the next update", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await rm(join(device.context.places.state, "generations/2/install.json"));
    expect((await updateEnding(device.context, third)).code).toBe("awaits-reboot");
    expect(await device.start()).toBe("1.2");
    expect((await agent(device)).verdict).toBe("kept");
  });

  test("runs after it, and stays when it is healthy", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    expect(await device.start()).toBe("1.1");
    expect(await agent(device)).toMatchObject({
      outcome: { kind: "applied", generation: 2 },
      verdict: "kept",
    });
    expect(await current(device)).toBe(2);
    expect(await device.files()).toEqual(["demo_1.0.efi", "demo_1.1.efi", foreign]);
    const { transaction, bootTargets, system } = await status(device.context);
    expect(transaction).toBeUndefined();
    expect(bootTargets.map(({ state }) => state)).toEqual(["running", "running"]);
    expect(system?.hostfs).toMatch(/^sha256:/);
  });

  test("is given up when the loader could not start it as often as it may, and says so", async () => {
    const device = await newDevice();
    await updateEnding(device.context, panics);
    const started: string[] = [];
    for (let i = 0; i < 4; i++) started.push(await device.start());
    expect(started).toEqual(["1.3", "1.3", "1.3", "1.0"]);
    expect((await agent(device)).outcome).toMatchObject({ generation: 1 });
    const { failures, rebootNeeded, generation } = await status(device.context);
    expect(failures).toMatchObject([{ code: "boot-failed", generation: 2 }]);
    expect([rebootNeeded, generation?.number]).toEqual([undefined, 1]);
    expect(await device.files()).toEqual(["demo_1.0.efi", foreign]);
    expect((await updateEnding(device.context, panics)).code).toBe("generation-failed-before");
  });

  test("goes back by itself when its services do not become well", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await device.start();
    device.manager.failing.add(serviceUnit("web"));
    expect((await agent(device)).verdict).toBe("generation-unhealthy");
    expect(device.manager.calls).toContain("reboot");
    expect(await device.start()).toBe("1.0");
    expect((await agent(device)).outcome).toMatchObject({ generation: 1 });
    expect((await status(device.context)).failures).toMatchObject([{ generation: 2 }]);
    expect(await current(device)).toBe(1);
    expect(await device.start()).toBe("1.0");
  });

  test("goes back by itself when its generation cannot even be brought up", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await device.start();
    await writeFile(join(device.context.places.state, "generations/2/install.json"), "{}");
    await agent(device);
    expect(device.manager.calls).toContain("reboot");
    expect(await device.start()).toBe("1.0");
    expect((await agent(device)).outcome).toMatchObject({ generation: 1 });
    expect((await status(device.context)).transaction).toBeUndefined();
  });

  test("of which the first try was cut off is tried again", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await device.start();
    await boot(device.context);
    expect(await device.start()).toBe("1.1");
    expect((await agent(device)).verdict).toBe("kept");
  });

  test("whose kernel image a power cut kept from the partition is put there at the next start", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await rm(join(device.images, "demo_1.1+3.efi"));
    await writeFile(join(device.images, ".mos-demo_1.1+3.efi.tmp"), "half of it");
    expect(await device.start()).toBe("1.0");
    await agent(device);
    expect(await device.files()).toEqual(["demo_1.0.efi", "demo_1.1+3.efi", foreign]);
    await device.start();
    expect((await agent(device)).verdict).toBe("kept");
  });

  test("makes way for another update", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    expect((await updateEnding(device.context, third)).code).toBe("awaits-reboot");
    expect(await device.files()).toEqual(["demo_1.0.efi", "demo_1.2+3.efi", foreign]);
    expect(await device.start()).toBe("1.2");
    expect((await agent(device)).verdict).toBe("kept");
  });

  test("is refused when its kernel image names another root, and nothing is written", async () => {
    const device = await newDevice();
    const files = await device.files();
    const line = factoryCommandLine.replace("roothash=f", "roothash=0");
    const systemd = {
      ...device.context.systemd,
      runOnce: async (_: string, ...args: string[]) => writeFile(args[4] ?? "", kernelImage("1.1", line)),
    };
    const ending = await updateEnding({ ...device.context, systemd }, second);
    expect(ending.code).toBe("boot-pair-mismatch");
    expect(await device.files()).toEqual(files);
    expect((await status(device.context)).transaction).toBeUndefined();
  });

  test("needs the partition, and leaves nothing behind where it is not there", async () => {
    const device = await newDevice();
    const boot = { ...device.context.boot, esp: ["/nowhere"] };
    expect((await updateEnding({ ...device.context, boot }, second)).code).toBe("esp-missing");
    expect((await status(device.context)).transaction).toBeUndefined();
  });

  test("is only stored on a machine that was not started from a root of mos", async () => {
    const device = await newDevice();
    const boot = { ...device.context.boot, commandLine: "/nowhere" };
    expect((await updateEnding({ ...device.context, boot }, second)).code).toBe("updated");
  });
});

describe("a second update", () => {
  test("leaves the last good system to go back to, and removes what is older", async () => {
    const device = await updatedDevice(second, third);
    // The root of the first is in a partition, and in no store.
    expect(await device.files()).toEqual(["demo_1.0.efi", "demo_1.1.efi", "demo_1.2.efi", foreign]);
    const fourth = await publisher.release("e", await publisher.system("1.4"));
    expect((await updateEnding(device.context, fourth)).code).toBe("awaits-reboot");
    await device.start();
    await agent(device);
    expect(await device.files()).toEqual(["demo_1.0.efi", "demo_1.2.efi", "demo_1.4.efi", foreign]);
  });

  test("of services alone needs no start", async () => {
    const device = await updatedDevice(second);
    const same = await publisher.release("f", await publisher.system("1.1"));
    expect((await updateEnding(device.context, same)).code).toBe("updated");
  });
});

describe("a rollback to another system", () => {
  test("waits for a start, which the loader takes although it is older, and stays", async () => {
    const device = await updatedDevice(second, third);
    expect(await rollback(device.context, undefined, () => undefined)).toMatchObject({
      ...{ outcome: "awaits-reboot", generation: 2, from: 3 },
    });
    expect(await device.start()).toBe("1.1");
    expect((await agent(device)).verdict).toBe("kept");
    expect(await current(device)).toBe(2);
    expect(await device.start()).toBe("1.1");
  });

  test("that does not come up ends where it began", async () => {
    const device = await updatedDevice(second, third);
    await rollback(device.context, undefined, () => undefined);
    const started: string[] = [];
    for (let i = 0; i < 4; i++) started.push(await device.start());
    expect(started).toEqual(["1.1", "1.1", "1.1", "1.2"]);
    await agent(device);
    expect(await current(device)).toBe(3);
    expect(await device.start()).toBe("1.2");
  });
});

describe("somebody who starts the system of before by hand", () => {
  test("gets the generation that belongs to it, and is told", async () => {
    const device = await updatedDevice(second, third);
    await rm(join(device.images, "demo_1.2.efi"));
    expect(await device.start()).toBe("1.1");
    expect((await agent(device)).outcome).toMatchObject({ generation: 2, damage: [{ code: "boot-failed" }] });
  });
});

describe("a root in the store that the disk has changed", () => {
  test("is fetched again by an update that is going to start from it", async () => {
    const system = await publisher.system("1.5");
    const release = await publisher.release("h", system);
    const device = await updatedDevice(release);
    const store = storePath(device.context.places);
    const digest = namedRoot(system.commandLine)?.stored?.[0]?.digest ?? "";
    await damageBlob(store, digest);
    // The loader is told to, by the initrd of the system that does not start.
    await rm(join(device.images, "demo_1.5.efi"));
    expect(await device.start()).toBe("1.0");
    expect((await agent(device)).outcome).toMatchObject({ generation: 1, damage: [{ code: "boot-failed" }] });
    expect((await updateEnding(device.context, release)).code).toBe("awaits-reboot");
    const bytes = await readFile(join(store, "blobs/sha256", digest.slice("sha256:".length)));
    expect(digestOf(bytes)).toBe(digest);
    expect(await device.start()).toBe("1.5");
    expect((await agent(device)).verdict).toBe("kept");
    expect((await status(device.context)).damage).toBeUndefined();
  });
});

describe("a disk that fails once", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });
  async function failsAt(tag: FaultTag): Promise<void> {
    vi.stubEnv("MOS_FAULT_STAMPS", await temporaryDirectory());
    vi.stubEnv("MOS_FAULT", `${tag}:eio`);
  }

  test("while a kernel image is written leaves the device as it was", async () => {
    const device = await newDevice();
    const files = await device.files();
    await failsAt("system.install");
    expect((await updateEnding(device.context, second)).code).toBe("io-failed");
    expect(await device.files()).toEqual(files);
    expect((await status(device.context)).transaction).toBeUndefined();
    expect((await updateEnding(device.context, second)).code).toBe("awaits-reboot");
  });

  test("when a system is to count as good lets the device go back, and blames nobody", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await device.start();
    await failsAt("system.bless");
    expect((await agent(device)).verdict).toBe("generation-unhealthy");
    expect(await device.start()).toBe("1.0");
    await agent(device);
    expect((await status(device.context)).failures).toBeUndefined();
    expect((await updateEnding(device.context, second)).code).toBe("awaits-reboot");
  });

  test("when the device is to go back lets it go back with the agent's next start", async () => {
    const device = await newDevice();
    await updateEnding(device.context, second);
    await device.start();
    device.manager.failing.add(serviceUnit("web"));
    await failsAt("system.back");
    expect((await agent(device)).verdict).toBe("io-failed");
    expect(device.manager.calls).not.toContain("reboot");
    await agent(device);
    expect(device.manager.calls).toContain("reboot");
    expect(await device.start()).toBe("1.0");
    expect((await agent(device)).outcome).toMatchObject({ generation: 1 });
  });

  test("when a system is given up leaves it given up", async () => {
    const device = await newDevice();
    await updateEnding(device.context, panics);
    for (let i = 0; i < 4; i++) await device.start();
    await failsAt("system.withdraw");
    await agent(device);
    expect(await device.start()).toBe("1.0");
    await agent(device);
    expect(await status(device.context)).toMatchObject({ failures: [{ code: "boot-failed" }] });
    expect((await status(device.context)).transaction).toBeUndefined();
    expect(await device.files()).toEqual(["demo_1.0.efi", foreign]);
  });
});

describe("publishing", () => {
  test("refuses a kernel image that names another root than the manifest brings", async () => {
    const [one, other] = [await publisher.system("2.1"), await publisher.system("2.2")];
    const mixed = { hostfs: one.hostfs, bootkit: other.bootkit };
    await expect(publisher.release("g", mixed)).rejects.toThrow(
      expect.objectContaining({ code: "boot-pair-mismatch" }),
    );
  });
});
