// What mosb image build made, from an installer's medium to running services: it is started under Secure Boot, installs
// onto an empty disk, restarts the machine, and what is on the disk then starts by itself, without a network. It takes
// long: only when MOS_TEST_INSTALLER says so (docs/testing.md).
import { open, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { BuiltImage } from "../../src/image/build-image.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { createQemu } from "../../src/machine/qemu.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { Factory } from "./harness.ts";
import { systemDescription } from "./system-image.ts";

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

/** Everything that an installer can do, from an optical disc; or no more than it has to, from a stick. */
const isPlain = process.env["MOS_TEST_INSTALLER"] === "plain";

async function describeImage(services: string): Promise<string> {
  const file = factory.path("image.yaml");
  const [installer, disk] = [{ disk: "auto" }, { esp: "128M", state: "64M" }];
  const whole = { installer: { ...installer, provision: "device" }, disk: { ...disk, encrypt: "tpm2" } };
  const policy = { version: 1, anchors: ["tpm-nv:0x01500063"], product: factory.product, tpm: "required" };
  await writeFile(factory.path("policy.json"), JSON.stringify(policy));
  const trust = { product: factory.product, ...(isPlain ? {} : { policy: "policy.json" }) };
  const more = { services, trust, ...(isPlain ? { installer, disk } : whole) };
  await writeFile(file, await systemDescription(factory, more));
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
      { path: image.installer ?? "", readOnly: true, isOptical: !isPlain },
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

    test.skipIf(isPlain)("has a TPM that was provisioned, with an identity of its own", async () => {
      expect(running().console()).toMatch(/The TPM is provisioned: .*PID:[^ ]+ SN:/);
      const certificate = await says("cat /run/mos/secure/server.crt");
      expect(certificate).toContain("BEGIN CERTIFICATE");
      expect(await says("stat -c %a /run/mos/secure/server.key")).toBe("600");
      expect(await says("journalctl -b -o cat -u mos-initrd.service")).toContain("PCR 7 is closed");
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
      const device = isPlain ? "vda4" : "mapper/mos-state";
      expect(await says("findmnt -no SOURCE,FSTYPE /var")).toMatch(new RegExp(`^/dev/${device} +ext4$`));
      expect(
        Number(await says("lsblk --bytes --noheadings --nodeps --output SIZE /dev/vda4")),
      ).toBeGreaterThan(diskBytes - 2 * 1024 ** 3);
    });

    test("runs the services that came with it, verified, without a network", async () => {
      const status = await waitUntilWell();
      expect(status.services).toMatchObject([{ name: "web" }]);
      expect(status.trust).toMatchObject({ signers: [{ anchor: isPlain ? "initrd" : "tpm-nv:0x01500063" }] });
      expect(await says("systemctl show -P Result mos-factory.service")).toBe("success");
      expect(await says("systemctl --failed --no-legend")).toBe("");
    });
  },
);
