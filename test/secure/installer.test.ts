// What mosb image build made, from an installer's medium to running services: it is started under Secure Boot, installs
// onto an empty disk, restarts the machine, and what is on the disk then starts by itself, without a network. It takes
// long: only when MOS_TEST_INSTALLER says so (docs/testing.md).
import { copyFile, open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { BuiltImage } from "../../src/image/build-image.ts";
import { guestControlFiles, guestControlLink } from "../../src/machine/guest-control.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { createQemu, qemuControlLine } from "../../src/machine/qemu.ts";
import { buildPackage } from "../../tools/package.ts";
import { busyboxRoot, secureGuestBase } from "../../tools/roots.ts";
import { masked } from "../../tools/secure-image.ts";
import { documentation } from "../integration/image-fixture.ts";
import { Factory, guestOptions } from "./harness.ts";

// On a machine that does other work besides, udev takes its time to find a disk.
const commandLine = [...guestOptions, "systemd.default_device_timeout_sec=240"].join(" ");
const diskBytes = 6 * 1024 ** 3;

let factory: Factory;
let image: BuiltImage;
let machine: Machine | undefined;

async function publish(): Promise<string> {
  const file = factory.path("manifest.yaml");
  await writeFile(
    file,
    `version: 1
product: ${factory.product}
release: { serial: 1 }
targets:
  - service_name: web
    version: "1"
    source: "rootfs:${await busyboxRoot()}"
    nsgroup: web
    image: { entrypoint: [/bin/busybox, sleep, "100000"] }
`,
  );
  const layout = `oci:${factory.path("release")}`;
  await factory.mos("mosb", "manifest", "publish", "--project", "demo:zot", "--dest", layout, file);
  return `${layout}:latest`;
}

/** A description of a guest that can be controlled and does not wait for what it does not have. */
async function describeImage(services: string): Promise<string> {
  const { packageFile } = await buildPackage();
  const loader = "sd-boot.efi";
  await copyFile(
    join(factory.image.toolsRoot, "usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
    factory.path(loader),
  );
  const control = guestControlFiles(qemuControlLine).map(({ path, content, mode }) => ({
    ...{ path, content, mode: `0${mode.toString(8)}` },
  }));
  const file = factory.path("image.yaml");
  const description = {
    version: 1,
    name: "demo",
    release: "1.0",
    root: {
      source: `rootfs:${await secureGuestBase()}`,
      install: [process.env["MOS_TEST_PACKAGE"] ?? packageFile],
      files: [
        ...control,
        { path: guestControlLink.path, link: guestControlLink.target },
        ...masked.map((unit) => ({ path: `/etc/systemd/system/${unit}`, link: "/dev/null" })),
      ],
      remove: documentation,
      compression: "lz4",
    },
    boot: { keyset: "demo", loader_file: loader, command_line: commandLine },
    trust: { product: factory.product },
    services,
    installer: { disk: "auto" },
    disk: { esp: "128M", state: "64M" },
  };
  await writeFile(file, JSON.stringify(description));
  return file;
}

beforeAll(async () => {
  factory = await Factory.create();
  await factory.approve();
  const file = await describeImage(await publish());
  image = JSON.parse(
    await factory.mos("mosb", "image", "build", "--json", "--output", factory.path("out"), file),
  );
  const disk = factory.path("disk.img");
  {
    await using handle = await open(disk, "w");
    await handle.truncate(diskBytes);
  }
  machine = await createQemu({
    toolsRoot: factory.image.toolsRoot,
    variables: await factory.variables("variables.fd"),
    // The firmware tries the empty disk first, and then the medium; after the installation the disk is what starts.
    disks: [
      { path: disk, readOnly: false },
      { path: image.installer ?? "", readOnly: true },
    ],
    tpmState: await factory.tpm("tpm"),
  });
  await machine.start();
  await installed(machine);
  await machine.booted(900_000);
  // Two starts; a machine that does other work besides takes its time.
}, 2_400_000);
afterAll(async () => {
  if (machine !== undefined) await factory.retire("image", machine);
  await factory?.dispose();
});

/** Until the system answers that was installed: the installer has the same root, and another command line. */
async function installed(machine: Machine): Promise<void> {
  await machine.waitFor(
    "the installed system",
    async () => {
      const asked = machine.exec(["cat", "/proc/cmdline"], { timeoutMs: 15_000 });
      // The one that is asked may be going down.
      const line = await asked.catch(() => undefined);
      return line === undefined || line.stdout.includes("mos.install") ? undefined : line;
    },
    900_000,
  );
}

function running(): Machine {
  return machine ?? expect.fail("the machine did not start");
}

async function says(script: string): Promise<string> {
  return (await running().exec(script, { timeoutMs: 120_000 })).stdout.trim();
}

async function waitUntilWell(): Promise<Status> {
  return await running().waitFor(
    "services to be well",
    async () => {
      const { stdout } = await running().exec(["mosctl", "status", "--json"], { accept: "any" });
      const status = JSON.parse(stdout) as Status;
      return status.health === "ok" ? status : undefined;
    },
    600_000,
  );
}

describe.runIf(process.env["MOS_TEST_INSTALLER"] !== undefined)(
  "a disk that an installer of mosb image build made",
  () => {
    test("was made without anybody's help, and says so on the console", () => {
      expect(running().console()).toContain("Installed on /dev/vda.");
    });

    test("starts under Secure Boot, by a loader that counts, with the signed command line", async () => {
      expect(await says("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-*")).toBe("1");
      expect(await says("cat /proc/cmdline")).toBe(image.commandLine);
      expect(await says("dmsetup status root")).toMatch(/ verity V/);
      expect(await says(". /etc/os-release; echo $IMAGE_ID $IMAGE_VERSION")).toBe("demo 1.0");
      // One of its three tries was used up; the agent has found it good, and its name does not count any more.
      const blessed = await running().waitFor("the kernel image to be good", async () =>
        (await says("ls /efi/EFI/Linux")) === "demo_1.0.efi" ? true : undefined,
      );
      expect(blessed).toBe(true);
    });

    test("keeps its state in the rest of the disk", async () => {
      expect(await says("findmnt -no SOURCE,FSTYPE /var")).toMatch(/^\/dev\/vda4 +ext4$/);
      expect(
        Number(await says("lsblk --bytes --noheadings --nodeps --output SIZE /dev/vda4")),
      ).toBeGreaterThan(diskBytes - 2 * 1024 ** 3);
    });

    test("runs the services that came with it, verified, without a network", async () => {
      const status = await waitUntilWell();
      expect(status.services).toMatchObject([{ name: "web" }]);
      expect(status.trust).toMatchObject({ signers: [{ anchor: "initrd" }] });
      expect(await says("systemctl show -P Result mos-factory.service")).toBe("success");
      expect(await says("systemctl --failed --no-legend")).toBe("");
    });
  },
);
