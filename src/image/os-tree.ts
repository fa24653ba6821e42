// Makes a device's root of a distribution's: packages and files are put in, the initrd is made by the root's own
// dracut, and everything goes that would differ from build to build. What comes out is a tree, a kernel and an initrd.
import { lstatSync } from "node:fs";
import {
  chmod,
  copyFile,
  cp,
  mkdir,
  readdir,
  readFile,
  rm,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { checkProgram } from "../elf/program.ts";
import { RootTree } from "../elf/root-tree.ts";
import { MosError } from "../errors/mos-error.ts";
import type { ImageDescription } from "./description-schema.ts";
import { crypttab, espMount, factoryLayout, fstab } from "./disk-layout.ts";
import { runInRoot } from "./in-root.ts";
import { exchange, makeInitrd } from "./make-initrd.ts";

/** What is built from, and where the results go. */
interface TreeInput {
  readonly description: ImageDescription;
  readonly tree: string;
  /** Kernel, initrd and os-release go here. */
  readonly output: string;
  /** What relative paths are relative to. */
  readonly baseDirectory: string;
  /** Directory of an OCI layout that is put in. */
  readonly factory: string | undefined;
  /** Seconds. */
  readonly epoch: number;
}

export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string;
  readonly osRelease: string;
}

/** Made anew by each system, or by each build. */
const transient = [
  ...["/boot", "/tmp", "/run", "/var/tmp", "/var/cache", "/var/log", "/var/lib/apt/lists"],
  ...["/etc/resolv.conf", "/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/.pwd.lock"],
  ...["/var/lib/systemd/random-seed", "/vmlinuz", "/vmlinuz.old", "/initrd.img", "/initrd.img.old"],
];

const emptyDirectories = [
  ...[
    "/boot",
    "/tmp",
    "/run",
    "/proc",
    "/sys",
    "/dev",
    "/var/tmp",
    "/var/cache",
    "/var/log",
    espMount,
    "/factory",
  ],
];

/** Programs that have to start for anything else to, if they are there. systemd 255 and later starts the second. */
const essential = ["/sbin/init", "/usr/lib/systemd/systemd-executor"];

/**
 * Where a path of the root is on this machine. Links in it are followed inside the root only: a root is somebody
 * else's, and its /etc could be a link to ours.
 */
function hostPath(tree: string, path: string): string {
  const root = new RootTree([tree]);
  const refuse = (why: string): never => {
    throw new MosError("image-root-unusable", `cannot put ${path} into the root: ${why}`, { about: path });
  };
  const names: string[] = [];
  for (let at = path; ; at = dirname(at)) {
    names.unshift(basename(at));
    const parent = root.find(dirname(at));
    if (parent === undefined) continue;
    if (parent.kind !== "directory") return refuse("it is below a file");
    const [first = "", ...below] = names;
    const next = join(parent.host, first);
    // It leads to nothing in the root, and may lead to something here.
    if (below.length > 0 && lstatSync(next, { throwIfNoEntry: false }) !== undefined)
      return refuse("it is below a link that leads nowhere");
    return join(next, ...below);
  }
}

async function put(tree: string, path: string, content: string | Uint8Array, mode = 0o644): Promise<void> {
  const to = hostPath(tree, path);
  await mkdir(dirname(to), { recursive: true });
  await rm(to, { force: true });
  await writeFile(to, content);
  await chmod(to, mode);
}

async function install({ description, tree, baseDirectory, epoch }: TreeInput): Promise<void> {
  const packages = description.root.install;
  if (packages.length === 0) return;
  await mkdir(join(tree, exchange));
  try {
    const names: string[] = [];
    for (const [i, path] of packages.entries()) {
      const name = `${i}.deb`;
      await copyFile(resolve(baseDirectory, path), join(tree, exchange, name));
      names.push(`/${exchange}/${name}`);
    }
    await runInRoot(tree, epoch, ["dpkg", "--install", ...names]);
  } finally {
    await rm(join(tree, exchange), { recursive: true, force: true });
  }
}

async function putFiles({ description, tree, baseDirectory }: TreeInput): Promise<void> {
  for (const { path, content, source, link, mode } of description.root.files) {
    if (link === undefined) {
      const bytes = content ?? (await readFile(resolve(baseDirectory, source ?? "")));
      await put(tree, path, bytes, Number.parseInt(mode, 8));
      continue;
    }
    const to = hostPath(tree, path);
    await mkdir(dirname(to), { recursive: true });
    await rm(to, { force: true });
    await symlink(link, to);
  }
}

/** Run at each login by pam_motd(8) of Debian: what the device says of itself now, not when it was built. */
const loginReport = "/etc/update-motd.d/60-mos";
const loginScript =
  "#!/bin/sh\n# Generation, services and whom they were signed by.\nexec /usr/bin/mosctl status\n";

function motd({ name, release }: ImageDescription): string {
  return `${name} ${release}\n\nThis system was verified when it started. What runs, who signed it and what failed:  mosctl status\n`;
}

/** What the image is called, where os-release(5) says it. @returns the whole text */
async function nameImage(tree: string, { name, release }: ImageDescription): Promise<string> {
  const found =
    new RootTree([tree]).find("/usr/lib/os-release") ?? new RootTree([tree]).find("/etc/os-release");
  if (found?.kind !== "file") {
    throw new MosError("image-root-unusable", "cannot use a root without an os-release", {
      about: "/usr/lib/os-release",
    });
  }
  const lines = (await readFile(found.host, "utf8")).split("\n");
  const kept = lines.filter((line) => line !== "" && !/^IMAGE_(?:ID|VERSION)=/.test(line));
  const text = `${[...kept, `IMAGE_ID=${name}`, `IMAGE_VERSION=${release}`].join("\n")}\n`;
  await put(tree, found.path, text);
  return text;
}

/** The one kernel of a root. @throws MosError `image-root-unusable` */
async function kernelVersion(tree: string): Promise<string> {
  const modules = new RootTree([tree]).find("/usr/lib/modules");
  const versions = modules?.kind === "directory" ? await readdir(modules.host) : [];
  const [version] = versions;
  if (version !== undefined && versions.length === 1) return version;
  throw new MosError(
    "image-root-unusable",
    `cannot tell which kernel to start: the root has ${versions.length} in /usr/lib/modules, and must have one`,
    { about: "/usr/lib/modules" },
  );
}

/** Debian has the kernel in /boot, Fedora beside its modules. */
async function takeKernel(tree: string, version: string, to: string): Promise<void> {
  const root = new RootTree([tree]);
  const found = root.find(`/usr/lib/modules/${version}/vmlinuz`) ?? root.find(`/boot/vmlinuz-${version}`);
  if (found?.kind !== "file") {
    throw new MosError("image-root-unusable", `cannot find the kernel ${version} in the root`, {
      about: `/boot/vmlinuz-${version}`,
    });
  }
  await copyFile(found.host, to);
}

/**
 * Takes out of a tree what would be another each time it is made, and puts in what a device needs to mount over.
 * @param remove other paths that go
 * @throws MosError `image-root-unusable`, `io-failed`
 */
export async function cleanTree(tree: string, remove: readonly string[]): Promise<void> {
  for (const path of [...transient, ...remove])
    await rm(hostPath(tree, path), { recursive: true, force: true });
  for (const path of emptyDirectories) await mkdir(hostPath(tree, path), { recursive: true });
  for (const path of ["/tmp", "/var/tmp"]) await chmod(hostPath(tree, path), 0o1777);
  // Empty: systemd makes one for as long as the system runs (machine-id(5), "Initialization").
  await put(tree, "/etc/machine-id", "", 0o444);
  for (const path of ["/etc/.updated", "/var/.updated"]) await put(tree, path, "");
}

/** State grows with the disk, where the root can do that. */
async function wantGrowth(tree: string): Promise<void> {
  const root = new RootTree([tree]);
  const unit = "/usr/lib/systemd/system/mos-grow.service";
  if (root.find(unit) === undefined || root.find("/usr/bin/systemd-repart") === undefined) return;
  const link = hostPath(tree, "/etc/systemd/system/multi-user.target.wants/mos-grow.service");
  await mkdir(dirname(link), { recursive: true });
  await rm(link, { force: true });
  await symlink(unit, link);
}

/**
 * Makes the root, kernel and initrd. Needs root, or a user namespace that maps all ids.
 * @throws MosError `image-root-unusable`, `program-unresolved`, `program-failed`, `program-missing`, `io-failed`
 */
export async function finishTree(input: TreeInput): Promise<BootFiles> {
  const { description, tree, output, factory, epoch } = input;
  const { disk } = description;
  for (const program of essential) {
    const root = new RootTree([tree]);
    if (program !== essential[0] && root.find(program) === undefined) continue;
    checkProgram(root, { program, environment: [], workingDirectory: "/" }, "the root of the image");
  }
  await install(input);
  const osRelease = await nameImage(tree, description);
  await put(tree, "/etc/hostname", `${description.root.hostname}\n`);
  await put(
    tree,
    "/etc/fstab",
    fstab({ swap: disk.swap !== undefined, encrypted: disk.encrypt !== undefined }),
  );
  if (disk.swap !== undefined && disk.encrypt !== undefined) await put(tree, "/etc/crypttab", crypttab());
  await put(tree, "/etc/motd", motd(description));
  if (new RootTree([tree]).find("/usr/bin/mosctl") !== undefined)
    await put(tree, loginReport, loginScript, 0o755);
  await wantGrowth(tree);
  await putFiles(input);
  if (factory !== undefined) {
    const to = hostPath(tree, factoryLayout);
    await rm(to, { recursive: true, force: true });
    await cp(factory, to, { recursive: true });
  }
  const version = await kernelVersion(tree);
  await mkdir(output, { recursive: true });
  const files = {
    kernel: join(output, "vmlinuz"),
    initrd: join(output, "initrd"),
    osRelease: join(output, "os-release"),
  };
  await takeKernel(tree, version, files.kernel);
  await makeInitrd(description, { tree, epoch, version }, files.initrd);
  await writeFile(files.osRelease, osRelease);
  await cleanTree(tree, description.root.remove);
  await utimes(tree, epoch, epoch);
  return files;
}
