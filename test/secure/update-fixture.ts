// A device that mosb image build made, with releases for it on a second disk: what test/secure/update.test.ts does to
// it, and how it waits for what comes of that.
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { Status } from "../../src/agent/status-model.ts";
import type { UpdateResult } from "../../src/agent/update.ts";
import type { BuiltImage } from "../../src/image/build-image.ts";
import type { ExecResult, Machine } from "../../src/machine/machine.ts";
import { createQemu } from "../../src/machine/qemu.ts";
import { run } from "../../src/system/process.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { Factory } from "./harness.ts";
import { systemDescription } from "./system-image.ts";

/** Everything is emulated, and a machine may have other work. */
const bootMs = 1_800_000;

/** The state is encrypted to the TPM when that is asked for: it is opened for the root that is in it. */
const isEncrypted = process.env["MOS_TEST_UPDATE"] === "encrypted";
const encrypt = isEncrypted ? { encrypt: "tpm2" } : {};
/** Of the root in the store: one layer, or the distribution and what the description makes of it. */
const layers = isEncrypted ? 1 : 2;

/** What a release brings besides its service. */
interface SystemSources {
  readonly hostfs: string;
  readonly bootkit: string;
  /** How often its start is tried. */
  readonly tries: number;
}

const systemTargets = ({ hostfs, bootkit }: SystemSources): string => `
  - service_name: hostfs
    version: "2"
    source: "${hostfs}"
    service_type: hostfs
  - service_name: bootkit
    version: "2"
    source: "${bootkit}"
    service_type: fs-only
`;

/** Images and releases, before there is a device. */
export class SystemFactory {
  readonly factory: Factory;
  private readonly marks: string[] = [];
  private readonly begun = performance.now();

  private constructor(factory: Factory) {
    this.factory = factory;
  }

  static async create(): Promise<SystemFactory> {
    const factory = await Factory.create();
    await factory.approve();
    return new SystemFactory(factory);
  }

  /** Notes how long it took to come here. */
  mark(what: string): void {
    this.marks.push(`${Math.round((performance.now() - this.begun) / 1000)} s: ${what}`);
  }

  /** Publishes release N with a service of that version. @returns its reference on this machine */
  async publish(serial: number, system?: SystemSources): Promise<string> {
    const { factory } = this;
    const file = factory.path(`manifest${serial}.yaml`);
    await writeFile(
      file,
      `version: 1
product: ${factory.product}
release: { serial: ${serial} }
health: { settle: 5, tries: ${system?.tries ?? 3} }
targets:
  - service_name: web
    version: "${serial}"
    source: "rootfs:${await busyboxRoot()}"
    nsgroup: web
    image: { entrypoint: [/bin/busybox, sleep, "10000${serial}"] }
${system === undefined ? "" : systemTargets(system)}`,
    );
    const layout = `oci:${factory.path("releases", `${serial}`)}`;
    await factory.mos("mosb", "manifest", "publish", "--project", "demo:zot", "--dest", layout, file);
    return `${layout}:latest`;
  }

  /** @param files that are put into its root besides */
  async build(release: string, more: object = {}, files: readonly object[] = []): Promise<BuiltImage> {
    const { factory } = this;
    const file = factory.path(`image-${release}.yaml`);
    const disk = { esp: "256M", state: "2G", ...encrypt };
    await writeFile(file, await systemDescription(factory, { release, disk, ...more }, { files, layers }));
    const lock = ["--lock", factory.path(`${release}.lock.json`)];
    const flags = ["image", "build", "--json", "--targets", ...lock, "--output", factory.path("out"), file];
    return JSON.parse(await factory.mos("mosb", ...flags));
  }

  /** A bootkit of that version with this command line, signed as any, and an initrd that knows no store. */
  async bootkit(version: string, commandLine: string): Promise<string> {
    const { factory } = this;
    const osRelease = factory.path(`os-release-${version}`);
    const text = await readFile(factory.path("os-release"), "utf8");
    await writeFile(osRelease, `${text.trimEnd()}\nIMAGE_ID=demo\nIMAGE_VERSION=${version}\n`);
    const root = factory.path(`root-${version}`);
    await run("mkdir", ["-p", join(root, "bootkit")]);
    const key = factory.key("uki-production");
    await factory.mos(
      ...(["mosb", "uki", "build", "--linux", factory.path("vmlinuz")] as const),
      ...["--initrd", factory.path("initrd"), "--os-release", osRelease, "--cmdline", commandLine],
      ...["--key", join(key, "privkey.pem"), "--cert", join(key, "cert.pem")],
      ...["--output", join(root, "bootkit/kernel.efi")],
    );
    return `rootfs:${root}`;
  }

  /** Starts the first image on a disk of that size, with all releases at hand. */
  async start(first: BuiltImage, diskBytes: number): Promise<Device> {
    const { factory } = this;
    const releases = factory.path("releases.img");
    await run("mke2fs", ["-q", "-t", "ext4", "-d", factory.path("releases"), releases, "2500M"], {
      timeoutMs: 120_000,
    });
    // As on a disk that is larger than the image.
    await truncate(first.raw, diskBytes);
    this.mark("images are built");
    const machine = await createQemu({
      toolsRoot: factory.image.toolsRoot,
      variables: await factory.variables("variables.fd"),
      disks: [
        { path: first.raw, readOnly: false },
        { path: releases, readOnly: true },
      ],
      tpmState: await factory.tpm("tpm"),
    });
    return new Device(machine);
  }

  async dispose(device: Device | undefined): Promise<void> {
    if (device !== undefined) await this.factory.retire("update", device.machine);
    process.stdout.write(`${this.marks.join("\n")}\n`);
    await this.factory.dispose();
  }
}

export class Device {
  readonly machine: Machine;

  constructor(machine: Machine) {
    this.machine = machine;
  }

  async start(): Promise<void> {
    await this.machine.start();
    await this.machine.booted(bootMs);
  }

  /** What a script there prints. */
  async says(script: string): Promise<string> {
    return (await this.machine.exec(script, { timeoutMs: 240_000 })).stdout.trim();
  }

  /** However a command there ends. */
  async tries(command: readonly string[] | string): Promise<ExecResult> {
    return await this.machine.exec(command, { accept: "any", timeoutMs: bootMs });
  }

  /** Until the device says so of itself; it may be going down or coming up when it is asked. */
  async until(what: string, holds: (status: Status) => boolean): Promise<Status> {
    return await this.machine.waitFor(
      what,
      async () => {
        const asked = this.machine.exec(["mosctl", "status", "--json"], { accept: "any", timeoutMs: 60_000 });
        const answer = await asked.catch(() => undefined);
        if (answer === undefined || !answer.stdout.startsWith("{")) return undefined;
        const status = JSON.parse(answer.stdout) as Status;
        return holds(status) ? status : undefined;
      },
      bootMs,
    );
  }

  async update(release: number): Promise<UpdateResult> {
    await this.says(
      "mountpoint -q /run/releases || { mkdir -p /run/releases; mount -o ro /dev/vdb /run/releases; }",
    );
    const reference = `oci:/run/releases/${release}:latest`;
    const { stdout, stderr } = await this.tries(["mosctl", "update", "--json", "--wait", reference]);
    expect(stdout, stderr).toMatch(/^\{/);
    return JSON.parse(stdout);
  }

  /** Kernel images in the EFI system partition. */
  async images(): Promise<string[]> {
    return (await this.says("ls /efi/EFI/Linux")).split("\n");
  }

  /** How often the console has shown it so far. */
  seen(text: string): number {
    return this.machine.console().split(text).length - 1;
  }

  /**
   * Changes one byte of a layer in the store, as a disk does that fails.
   * @param at from its start
   * @param afterwards a script, which has to do with what was read before
   */
  async damage(layer: string, at: number, afterwards: string): Promise<void> {
    const blob = `/var/lib/mos/oci/blobs/sha256/${layer.slice("sha256:".length)}`;
    await this.says(`
      byte=$(dd if=${blob} bs=1 skip=${at} count=1 status=none | od -An -tu1 | tr -d ' ')
      printf "\\$(printf %03o $((byte ^ 255)))" | dd of=${blob} bs=1 seek=${at} conv=notrunc,fsync status=none
      ${afterwards}`);
  }
}
