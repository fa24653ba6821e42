// A device in a directory that starts from an EFI system partition, which is a directory too: a loader of a few lines
// takes a kernel image as systemd-boot does and counts; the kernel images are EFI programs that hold their texts.
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { AgentContext } from "../../src/agent/context.ts";
import { type StoredLayer, storedRootCommandLine } from "../../src/boot/command-line.ts";
import { readEsp } from "../../src/boot/esp.ts";
import { entryName } from "../../src/boot/esp-entries.ts";
import { compareVersions } from "../../src/boot/version-order.ts";
import { inspectLayer } from "../../src/layers/inspect.ts";
import { type LayerFormat, type PackedLayer, packLayer } from "../../src/layers/pack.ts";
import { parseManifestYaml } from "../../src/manifest/manifest-yaml.ts";
import { buildImage } from "../../src/oci/image.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { openWritable } from "../../src/oci/open.ts";
import { publish } from "../../src/publish/publish.ts";
import { signerOf } from "../../src/publish/sign.ts";
import { run } from "../../src/system/process.ts";
import { type MemoryManager, memoryManager } from "../memory-manager.ts";
import { text, writePe } from "../unit/efi/pe-writer.ts";
import { type Issued, make } from "../unit/trust/authority.ts";
import { contextIn } from "./device-fixture.ts";
import { layoutDestination, makeRoot, projectOf } from "./publish-fixture.ts";

/** A kernel image with this version and command line. */
export function kernelImage(version: string, commandLine: string): Uint8Array {
  const osRelease = `ID=test\nIMAGE_ID=demo\nIMAGE_VERSION=${version}\n`;
  return writePe([
    { name: ".osrel", content: text(osRelease) },
    { name: ".cmdline", content: text(commandLine) },
    { name: ".linux", content: text(`a kernel ${version}`) },
  ]);
}

/** The root in a partition with which a device leaves its factory. */
export const factoryCommandLine = `roothash=${"f".repeat(64)} root=/dev/mapper/root ro`;

/** A system: sources of its two targets. */
export interface System {
  readonly hostfs: string;
  /** A directory. */
  readonly bootkit: string;
  readonly commandLine: string;
}

export class Publisher {
  readonly directory: string;
  readonly ca: Issued;
  private readonly project: Issued;
  private serial = 0;

  private constructor(directory: string, ca: Issued, project: Issued) {
    this.directory = directory;
    this.ca = ca;
    this.project = project;
  }

  static async create(directory: string): Promise<Publisher> {
    const ca = await make({ ca: true });
    return new Publisher(directory, ca, await make({ issuer: ca }));
  }

  /** Makes a root and a kernel image that names it. @param rootOf the version whose root it names, if not its own */
  async system(version: string, rootOf = version): Promise<System> {
    const tree = join(this.directory, `root-${rootOf}`);
    await mkdir(join(tree, "sbin"), { recursive: true });
    await writeFile(join(tree, "sbin/init"), `an init ${rootOf}`, { mode: 0o755 });
    return await this.systemOf(version, `rootfs:${tree}`, [await this.pack(tree)]);
  }

  /** Makes a root of two layers, the lower of which is the same for all versions, and a kernel image that names it. */
  async layeredSystem(version: string): Promise<System> {
    const [lower, upper] = [join(this.directory, "lower"), join(this.directory, `upper-${version}`)];
    await mkdir(join(lower, "sbin"), { recursive: true });
    await writeFile(join(lower, "sbin/init"), "an init", { mode: 0o755 });
    await mkdir(join(upper, "etc"), { recursive: true });
    await writeFile(join(upper, "etc/release"), version);
    const layers = [await this.pack(lower), await this.pack(upper)];
    const layout = join(this.directory, `layout-${version}`);
    const to = openWritable({ kind: "oci", directory: layout, reference: "hostfs" }).images;
    for (const { path, descriptor } of layers) await to.putBlob(descriptor, () => createReadStream(path));
    const empty = { entrypoint: [], cmd: [], env: [], user: "", working_dir: "" };
    const { config, manifest } = buildImage(
      layers.map(({ descriptor }) => descriptor),
      empty,
    );
    await to.putBlob(config.descriptor, async function* () {
      yield config.bytes;
    });
    await to.putManifest(manifest.bytes, mediaTypes.manifest, "hostfs");
    return await this.systemOf(version, `oci:${layout}:hostfs`, layers);
  }

  private async pack(tree: string): Promise<PackedLayer> {
    const source = { kind: "directory", path: tree } as const;
    return await packLayer({ source, format: "squashfs", workDirectory: this.directory });
  }

  private async systemOf(version: string, hostfs: string, layers: readonly PackedLayer[]): Promise<System> {
    const stored: StoredLayer[] = [];
    for (const { path, descriptor, rootHash } of layers) {
      const { hashOffset, kind } = await inspectLayer(path, descriptor);
      stored.push({ digest: descriptor.digest, rootHash, hashOffset, kind });
    }
    const commandLine = `${storedRootCommandLine(stored)} v=${version}`;
    const bootkit = join(this.directory, `bootkit-${version}`);
    await mkdir(join(bootkit, "bootkit"), { recursive: true });
    await writeFile(join(bootkit, "bootkit/kernel.efi"), kernelImage(version, commandLine));
    return { hostfs, bootkit, commandLine };
  }

  /** Publishes the next release. @returns its reference */
  async release(
    program: string,
    system?: Pick<System, "hostfs" | "bootkit">,
    format: LayerFormat = "squashfs",
  ): Promise<string> {
    const serial = ++this.serial;
    await makeRoot(join(this.directory, `web-${program}`), program);
    const targets =
      system === undefined
        ? ""
        : `
  - {service_name: hostfs, version: "1", source: "${system.hostfs}", service_type: hostfs}
  - {service_name: bootkit, version: "1", source: "rootfs:${system.bootkit}", service_type: fs-only}`;
    const yaml = `version: 1
product: p
release: {serial: ${serial}}
health: {settle: 0, timeout: 5}
targets:
  - {service_name: web, version: "${serial}", source: "rootfs:web-${program}", image: {entrypoint: [/bin/service]}}${targets}
`;
    const layout = join(this.directory, `release-${serial}`);
    await publish({
      manifest: parseManifestYaml(yaml, "manifest.yaml"),
      baseDirectory: this.directory,
      signers: [signerOf(projectOf(this.project), false)],
      destination: layoutDestination(layout),
      format,
      patchFrom: [],
      created: new Date().toISOString(),
      onStep: () => undefined,
    });
    return `oci:${layout}:1`;
  }
}

export class BootedDevice {
  private readonly base: AgentContext;
  private readonly root: string;
  context: AgentContext;
  manager: MemoryManager;
  private starts = 0;

  private constructor(root: string) {
    this.root = root;
    this.base = contextIn(root);
    this.context = this.base;
    this.manager = memoryManager();
  }

  /** A device that has left its factory with a counted kernel image, and was started for the first time. */
  static async create(root: string, publisher: Publisher): Promise<BootedDevice> {
    const device = new BootedDevice(root);
    await mkdir(device.images, { recursive: true });
    await writeFile(join(root, "ca.pem"), publisher.ca.pem);
    await writeFile(join(device.images, "demo_1.0+3.efi"), kernelImage("1.0", factoryCommandLine));
    await writeFile(join(device.images, "other-system.efi"), "somebody else's");
    await device.start();
    return device;
  }

  get images(): string {
    return join(this.root, "efi/EFI/Linux");
  }

  async files(): Promise<string[]> {
    return (await readdir(this.images)).sort();
  }

  /** Programs of packaging/boot: the one of this checkout, or what stands for it. */
  private async runOnce(program: string, args: readonly string[]): Promise<void> {
    if (basename(program) === "bootkit-kernel") return await this.readKernel(args);
    await run(join(import.meta.dirname, "../../packaging/boot", basename(program)), args);
  }

  /** What the reader in packaging/boot does under dm-verity, which this machine's kernel does not have. */
  private async readKernel(args: readonly string[]): Promise<void> {
    const [blob = "", , , kind, to = ""] = args;
    const tree = `${to}.tree`;
    if (kind === "erofs") await run("fsck.erofs", [`--extract=${tree}`, "--no-preserve-owner", blob]);
    else await run("rdsquashfs", ["--quiet", "--unpack-root", tree, "--unpack-path", "/", blob]);
    await writeFile(to, await readFile(join(tree, "bootkit/kernel.efi")));
    await rm(tree, { recursive: true });
  }

  /** Firmware and loader: what comes next is started, counted. @returns the version that was started */
  async start(): Promise<string> {
    const { entries } = await readEsp([join(this.root, "efi")]);
    const [chosen] = entries.toSorted(
      (a, b) =>
        Number(a.left === 0) - Number(b.left === 0) || compareVersions(b.imageVersion, a.imageVersion),
    );
    if (chosen === undefined) throw new Error("there is nothing to start");
    const { base, left, done, file, commandLine, imageVersion } = chosen;
    if (left !== undefined) {
      const next = entryName(base, Math.max(0, left - 1), done + 1);
      await rename(join(this.images, file), join(this.images, next));
    }
    await writeFile(join(this.root, "cmdline"), `${commandLine}\n`);
    this.starts += 1;
    const volatile = join(this.root, `boot${this.starts}`);
    this.manager = memoryManager();
    const { manager } = this;
    this.context = {
      ...this.base,
      places: { ...this.base.places, run: join(volatile, "run") },
      unitDirectory: join(volatile, "systemd"),
      quadletDirectory: join(volatile, "quadlet"),
      systemd: { ...manager, runOnce: (program, ...args) => this.runOnce(program, args) },
    };
    return imageVersion;
  }
}
