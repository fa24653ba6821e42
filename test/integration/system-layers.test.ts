// Systems whose root has two layers, one of which all of them share: what a device says of them, what it refuses, and
// what it keeps. The starts are those of system-fixture.ts.
import { cp, mkdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { boot } from "../../src/agent/boot.ts";
import { status } from "../../src/agent/status.ts";
import { settleSystems } from "../../src/agent/system-boot.ts";
import { watchTrial } from "../../src/agent/trial.ts";
import { namedRoot, type RootLayer } from "../../src/boot/command-line.ts";
import { storePath } from "../../src/generation/places.ts";
import { Layout } from "../../src/oci/layout.ts";
import { hostfsWords } from "../../src/publish/hostfs-words.ts";
import { makeImageOf } from "../oci-image.ts";
import { temporaryDirectory } from "../support.ts";
import { tarOf } from "../unit/archives/tar-maker.ts";
import { updateEnding } from "./device-fixture.ts";
import { BootedDevice, kernelImage, Publisher, type System } from "./system-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let publisher: Publisher;
let systems: readonly System[];
let releases: readonly string[];
beforeAll(async () => {
  work = await makeWorkDirectory();
  publisher = await Publisher.create(work);
  systems = await Promise.all(["1.1", "1.2", "1.3"].map((version) => publisher.layeredSystem(version)));
  const made: string[] = [];
  for (const [i, system] of systems.entries()) made.push(await publisher.release(`program${i}`, system));
  releases = made;
});
afterAll(() => rm(work, { recursive: true, force: true }));

async function agent(device: BootedDevice): Promise<void> {
  const { outcome } = await boot(device.context);
  if ("trial" in outcome && outcome.trial !== undefined) await watchTrial(device.context, outcome.trial);
  else await settleSystems(device.context);
}

/** A device that was updated to these, one after the other, and started anew each time. */
async function updatedDevice(references: readonly string[]): Promise<BootedDevice> {
  const device = await BootedDevice.create(await temporaryDirectory(), publisher);
  await agent(device);
  for (const reference of references) {
    expect((await updateEnding(device.context, reference)).code).toBe("awaits-reboot");
    await device.start();
    await agent(device);
  }
  return device;
}

const layersOf = (system: System | undefined): readonly RootLayer[] =>
  namedRoot(system?.commandLine ?? "")?.stored ?? expect.fail("it names no root");

async function isStored({ context }: BootedDevice, { digest }: RootLayer): Promise<boolean> {
  const store = await Layout.open(storePath(context.places));
  return await stat(store.blobPath(digest)).then(
    () => true,
    () => false,
  );
}

describe("a system whose root has two layers", () => {
  test("runs when all of them were started, and status names each", async () => {
    const [reference = ""] = releases;
    const { context } = await updatedDevice([reference]);
    const { system, bootTargets, damage } = await status(context);
    const layers = layersOf(systems[0]);
    expect(system).toEqual({ rootHash: layers[0]?.rootHash, hostfs: layers[0]?.digest, layers });
    expect(bootTargets.map(({ state }) => state)).toEqual(["running", "running"]);
    expect(damage).toBeUndefined();
  });

  test("is another one when only the upper layer is another", async () => {
    const device = await updatedDevice(releases.slice(0, 2));
    // As when somebody chooses the one before, whose lower layer is the same.
    await writeFile(join(device.images, "..", "..", "..", "cmdline"), `${systems[0]?.commandLine}\n`);
    const { generation, damage } = await status(device.context);
    expect(generation?.number).toBe(1);
    expect(damage).toMatchObject([{ code: "boot-failed" }]);
  });

  test("keeps all layers of what it can go back to, and its kernel image", async () => {
    const device = await updatedDevice(releases);
    const files = await device.files();
    expect(files).toEqual(["demo_1.0.efi", "demo_1.2.efi", "demo_1.3.efi", "other-system.efi"]);
    for (const system of systems.slice(1))
      for (const layer of layersOf(system)) expect(await isStored(device, layer)).toBe(true);
    expect(await isStored(device, layersOf(systems[0])[0] ?? expect.fail())).toBe(true);
  });

  test("is refused at publishing with a kernel image of another upper layer, which is named", async () => {
    const [one, other] = systems;
    if (one === undefined || other === undefined) expect.fail();
    const mixed = { hostfs: one.hostfs, bootkit: other.bootkit };
    await expect(publisher.release("mixed", mixed)).rejects.toThrow(
      expect.objectContaining({ code: "boot-pair-mismatch", about: layersOf(one)[1]?.digest }),
    );
  });

  test("is refused at publishing with a kernel image that names one layer only", async () => {
    const [one] = systems;
    if (one === undefined) expect.fail();
    const bootkit = join(work, "half");
    await cp(one.bootkit, bootkit, { recursive: true });
    const half = one.commandLine.replace(/ mos\.hostfs-layer=\S+/, "");
    await writeFile(join(bootkit, "bootkit/kernel.efi"), kernelImage("9", half));
    await expect(publisher.release("half", { hostfs: one.hostfs, bootkit })).rejects.toThrow(
      expect.objectContaining({ code: "boot-pair-mismatch", about: layersOf(one)[1]?.digest }),
    );
  });

  test.each([["squashfs"], ["erofs"]] as const)(
    "can be an image of tar layers, whose words for the kernel are known before it is published (%s)",
    async (format) => {
      const layout = join(work, `image-${format}`);
      const init = { path: "sbin/init", content: "an init", mode: 0o755 };
      const { source } = await makeImageOf(
        layout,
        [tarOf([init, { path: "etc/one", content: "1" }]), tarOf([{ path: "etc/.wh.one" }])],
        { Entrypoint: [] },
      );
      const commandLine = await hostfsWords(source, format, work);
      expect(namedRoot(commandLine)?.rootHashes).toHaveLength(2);
      const bootkit = join(work, `bootkit-of-${format}`);
      await mkdir(join(bootkit, "bootkit"), { recursive: true });
      await writeFile(join(bootkit, "bootkit/kernel.efi"), kernelImage("1.1", commandLine));
      // Publishing would refuse it with other layers.
      const reference = await publisher.release(`tar-${format}`, { hostfs: source, bootkit }, format);
      const device = await updatedDevice([reference]);
      const { system, bootTargets } = await status(device.context);
      expect(system?.layers).toEqual(namedRoot(commandLine)?.stored);
      expect(bootTargets.map(({ state }) => state)).toEqual(["running", "running"]);
    },
  );
});
