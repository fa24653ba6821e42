// A device whose boots begin in an initrd: its state on a disk of its own, made without a boot by the agent's own update
// into a directory; and a machine whose initrd, disks and kernel command line can be other ones at each start.
import { writeFileSync } from "node:fs";
import { cp, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { moveCurrent } from "../../src/agent/commit.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import type { Status } from "../../src/agent/status-model.ts";
import { update } from "../../src/agent/update.ts";
import { writeJournal } from "../../src/generation/journal.ts";
import { initrdArchive } from "../../src/image/cpio.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { bootUml } from "../../src/machine/uml.ts";
import { parseManifestYaml } from "../../src/manifest/manifest-yaml.ts";
import { publish } from "../../src/publish/publish.ts";
import { signerOf } from "../../src/publish/sign.ts";
import { run } from "../../src/system/process.ts";
import { cacheDirectory } from "../../tools/cache.ts";
import { guestDisk } from "../../tools/guest-disk.ts";
import { busyboxRoot } from "../../tools/roots.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { contextIn } from "../integration/device-fixture.ts";
import { layoutDestination, projectOf } from "../integration/publish-fixture.ts";
import { noise } from "../support.ts";
import { make } from "../unit/trust/authority.ts";
import { levelFile } from "./signed-files.ts";

/** Discoverable Partitions Specification: variable data. */
const varType = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";
const mebibyte = 1024 * 1024;
const stateMebibytes = 128;

/** Names of services, beginning with `svc`. */
const serviceNames = (count: number): string[] => Array.from({ length: count }, (_, i) => `svc${i + 1}`);

function manifestOf(root: string, version: string, services: number): string {
  const targets = serviceNames(services).map(
    (name) => `
  - service_name: ${name}
    source: "rootfs:${root}"
    image: {entrypoint: [/bin/busybox, sleep, "1000000"]}
    version: "${version}"
    nsgroup: ${name}
    network: {type: none}`,
  );
  // A manifest has at least one target: without services, files that nobody uses.
  const nothing = `\n  - {service_name: files, source: "rootfs:${root}", version: "${version}", service_type: fs-only}`;
  return `version: 1\nproduct: test\nhealth: {settle: 1}\ntargets:${targets.join("") || nothing}\n`;
}

/** What a device has accepted: its state below `directory`, and the CA that vouches for it. */
export interface Accepted {
  readonly device: AgentContext;
  readonly ca: string;
}

/** Publishes releases of so many services each, one after the other, and lets a device in a directory accept them. */
export async function acceptReleases(work: string, services: readonly number[]): Promise<Accepted> {
  const ca = await make({ ca: true });
  const project = projectOf(await make({ issuer: ca }));
  const root = join(work, "root");
  await cp(await busyboxRoot(), root, { recursive: true, verbatimSymlinks: true });
  const device = contextIn(join(work, "device"));
  await mkdir(join(work, "device"), { recursive: true });
  await writeFile(join(work, "device/ca.pem"), ca.pem);
  for (const [i, count] of services.entries()) {
    const layout = join(work, `release${i}`);
    await publish({
      manifest: parseManifestYaml(manifestOf(root, `${i + 1}`, count), "manifest.yaml"),
      baseDirectory: work,
      signers: [signerOf(project, false)],
      destination: layoutDestination(layout),
      format: "squashfs",
      patchFrom: [],
      created: new Date().toISOString(),
      onStep: () => undefined,
    });
    await update(device, `oci:${layout}:1`, { allowOlder: false, retry: false }, () => undefined);
  }
  return { device, ca: ca.pem };
}

/** Makes a file system for /var with the state of a device. */
export async function makeVar(
  image: string,
  { places }: AgentContext,
  options: readonly string[] = [],
): Promise<void> {
  const tree = `${image}.tree`;
  await mkdir(join(tree, "lib"), { recursive: true });
  await cp(places.state, join(tree, "lib/mos"), { recursive: true, verbatimSymlinks: true });
  await run("mke2fs", ["-q", "-t", "ext4", "-d", tree, ...options, image, `${stateMebibytes}M`]);
  await rm(tree, { recursive: true });
}

/** As a power cut leaves a device while its generation 2 is tried: it runs at the next start, once more at most. */
export async function onTrial({ places }: AgentContext): Promise<void> {
  await moveCurrent(places, 1);
  const startedAt = new Date().toISOString();
  await writeJournal(places, {
    ...{ kind: "update", phase: "trial", from: 1, to: 2, tries: 1, excused: [], startedAt },
  });
}

/** Writes noise over a part of a file. */
export async function overwrite(path: string, from: number, length: number): Promise<void> {
  await using file = await open(path, "r+");
  await file.write(noise("noise", length), 0, length, from);
}

/** A disk with one partition of the type that says that it is /var, and in it this file system. */
export async function partitioned(image: string, fileSystem: string): Promise<void> {
  {
    await using disk = await open(image, "w");
    await disk.truncate((stateMebibytes + 2) * mebibyte);
  }
  await run("sfdisk", ["--quiet", image], {
    stdin: `label: gpt\nstart=1MiB, size=${stateMebibytes}MiB, type=${varType}\n`,
  });
  await run("dd", [`if=${fileSystem}`, `of=${image}`, "bs=1M", "seek=1", "conv=notrunc,sparse"]);
}

/** An initrd with more files, by path: an archive of its own behind the one that dracut has made. */
export async function initrdWith(
  path: string,
  base: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  const archive = initrdArchive(
    Object.entries(files).map(([name, content]) => ({
      path: name,
      content: Buffer.from(content),
      mode: 0o644,
    })),
  );
  const first = await readFile(base);
  // The kernel looks for the next archive at a multiple of four bytes.
  await writeFile(path, Buffer.concat([first, Buffer.alloc((4 - (first.length % 4)) % 4), archive]));
}

/** What a machine starts with; every start may have another. */
export interface Start {
  initrd: string;
  /** Beside the root's disk, which the machine keeps: /dev/ubdb and so on. */
  disks: readonly string[];
  kernelArguments: readonly string[];
}

/** One boot, when it is over. */
export interface Observation {
  readonly status: Status;
  readonly bootId: string;
  /** Of the boot in which the initrd stage has logged. */
  readonly initrdBootId: string;
  /** What is mounted at /var; empty when that is the root's own. */
  readonly varSource: string;
  /** State of the first service, and the file that its unit was read from. */
  readonly service: string;
  readonly fragment: string;
  readonly failedUnits: readonly string[];
  /** States of the units of image.volume and apps.volume (signed-files.ts), and what quadlet may read. */
  readonly signed: { readonly image: string; readonly apps: string; readonly quadlets: readonly string[] };
  /** Of the set in levels (signed-files.ts): the level that its file is from, and the state of the file's unit. */
  readonly level: string;
  /** What systemd has logged since the kernel's start, in order. */
  readonly log: readonly string[];
}

/** A machine that boots through an initrd. */
export class StagedMachine implements AsyncDisposable {
  readonly machine: Machine;
  /** What the next start takes. */
  readonly next: Start;
  private readonly name: string;

  private constructor(name: string, machine: Machine, next: Start) {
    this.name = name;
    this.machine = machine;
    this.next = next;
  }

  /** @param name of its console log, CACHE/logs/console-NAME.log */
  static async boot(name: string, start: Start): Promise<StagedMachine> {
    const { disk, toolsRoot } = await guestDisk((await buildUnderTest()).packageFile);
    const options = { ...start, disk, toolsRoot, bootTimeoutMs: 180_000 };
    return new StagedMachine(name, await bootUml(options), options);
  }

  /** Shuts down if it runs, starts with what {@link next} says, and waits until the boot is over. */
  async reboot(change: Partial<Start> = {}): Promise<void> {
    Object.assign(this.next, change);
    await this.machine.reboot();
    await this.machine.booted();
  }

  /** Writes /etc/fstab for the next boots: the root, and this line. */
  async setFstab(line: string): Promise<void> {
    await this.machine.putFile("/etc/fstab", `/dev/ubda / ext4 defaults 0 0\n${line}\n`);
  }

  /** What a person could see of the boot that is over. */
  async observe(): Promise<Observation> {
    const script = `
echo "$(cat /proc/sys/kernel/random/boot_id | tr -d -)"
echo "$(journalctl -b -u mos-initrd-apply.service -o json -n 1 | sed -n 's/.*"_BOOT_ID":"\\([0-9a-f]*\\)".*/\\1/p')"
findmnt -n -o SOURCE /var || echo
systemctl is-active mos-svc-svc1.service || true
systemctl show -P FragmentPath mos-svc-svc1.service
systemctl is-active image-volume.service || true
systemctl is-active apps-volume.service || true
ls -A /run/containers/systemd /etc/containers/systemd | tr '\\n' ' '; echo
echo "$(sed -n s/^Label=from=//p ${levelFile} 2>/dev/null) $(systemctl is-active level-volume.service)"
systemctl --failed --plain --no-legend | cut -d' ' -f1 | tr '\\n' ' '; echo
journalctl -b -o cat --no-pager SYSLOG_IDENTIFIER=systemd`;
    const { stdout } = await this.machine.exec(script);
    const [bootId = "", initrdBootId = "", varSource = "", service = "", fragment = "", ...more] =
      stdout.split("\n");
    const [image = "", apps = "", quadlets = "", level = "", failed = "", ...log] = more;
    const failedUnits = failed.trim() === "" ? [] : failed.trim().split(" ");
    return {
      ...{
        status: await this.status(),
        bootId,
        initrdBootId,
        varSource,
        service,
        fragment,
        signed: { image, apps, quadlets: quadlets.split(" ") },
        level: level.trim(),
        failedUnits,
        log,
      },
    };
  }

  async status(): Promise<Status> {
    const { stdout } = await this.machine.exec(["mosctl", "status", "--json"], { accept: [0, 4, 8] });
    return JSON.parse(stdout) as Status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    writeFileSync(join(cacheDirectory, "logs", `console-${this.name}.log`), this.machine.console());
    await this.machine.dispose();
  }
}
