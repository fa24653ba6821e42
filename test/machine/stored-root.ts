// Boots from a root of several layers in the store of a device. Most are of busybox, whose init says on the console what it
// sees and turns the machine off: what becomes of the boot is on the console, however it ends. One is of a whole system.
import { copyFile, cp, link, mkdir, open, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type StoredLayer, storedRootCommandLine } from "../../src/boot/command-line.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { inspectLayer } from "../../src/layers/inspect.ts";
import { type LayerFormat, packLayer } from "../../src/layers/pack.ts";
import { guestControlFiles, guestControlLink } from "../../src/machine/guest-control.ts";
import { umlControlLine } from "../../src/machine/uml.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { run } from "../../src/system/process.ts";
import { guestKernel } from "../../tools/guest-kernel.ts";
import { busyboxRoot, secureGuestBase } from "../../tools/roots.ts";
import { masked } from "../../tools/secure-image.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { StagedMachine } from "./initrd-fixture.ts";

/** A layer in a file. */
export interface RootFile extends StoredLayer {
  readonly path: string;
}

// Of the upper layer where there are two.
const init = `#!/bin/sh
PATH=/bin
busybox mount -t proc proc /proc
see() { [ -e "/etc/$1" ] && busybox cat "/etc/$1" || echo none; }
{
  # On a line of its own, whatever systemd has left on this one.
  echo
  echo "root: lower=$(see lower) upper=$(see upper) changed=$(see changed) gone=$(see gone)"
  busybox ls /etc/emptied | busybox wc -l | busybox sed 's/^/root: emptied=/'
  echo yes > /etc/written
  echo "root: written=$(see written)"
  busybox grep ' / ' /proc/mounts | busybox sed 's/^/root: /'
} > /dev/console 2>&1
busybox sync
busybox poweroff -f
`;

async function put(tree: string, files: Readonly<Record<string, string>>, mode = 0o644): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(tree, path, ".."), { recursive: true });
    await writeFile(join(tree, path), content, { mode });
  }
}

async function pack(tree: string, format: LayerFormat, work: string, compression?: "lz4"): Promise<RootFile> {
  const source = { kind: "directory", path: tree } as const;
  const { path, descriptor, rootHash } = await packLayer({
    ...{ source, format, workDirectory: work },
    ...(compression === undefined ? {} : { compression }),
  });
  const { hashOffset, kind } = await inspectLayer(path, descriptor);
  return { path, digest: descriptor.digest, rootHash, hashOffset, kind };
}

/** A root that starts by itself, and what is over it: one file more, one changed, one gone, a directory that is empty. */
export async function makeRootLayers(work: string): Promise<{ lower: RootFile; upper: RootFile }> {
  const [lower, upper] = [join(work, "lower"), join(work, "upper")];
  await cp(await busyboxRoot(), lower, { recursive: true, verbatimSymlinks: true });
  for (const directory of ["run", "proc", "sys", "dev", "tmp", "root"])
    await mkdir(join(lower, directory), { recursive: true });
  await put(lower, {
    ...{ "etc/os-release": "ID=test\n", "usr/lib/os-release": "ID=test\n" },
    ...{ "etc/lower": "lower\n", "etc/changed": "before\n", "etc/gone": "still there\n" },
    ...{ "etc/emptied/one": "1", "etc/emptied/two": "2" },
  });
  // For mos-initrd.service, which runs the root's program; there is no TPM.
  await put(lower, { "sbin/init": init, "usr/bin/mos-trust": "#!/bin/sh\nexit 0\n" }, 0o755);
  await put(upper, { "etc/upper": "upper\n", "etc/changed": "after\n" });
  await run("mknod", [join(upper, "etc/gone"), "c", "0", "0"]);
  await mkdir(join(upper, "etc/emptied"));
  for (const name of ["one", "two"]) await link(join(upper, "etc/gone"), join(upper, "etc/emptied", name));
  return { lower: await pack(lower, "squashfs", work), upper: await pack(upper, "erofs", work) };
}

/** Debian, and over it mos, the kernel modules of the guest and what makes it controllable; translations are gone. */
export async function makeSystemLayers(work: string): Promise<readonly RootFile[]> {
  const upper = join(work, "system");
  await mkdir(join(upper, "usr/lib"), { recursive: true });
  await run("dpkg-deb", ["--extract", (await buildUnderTest()).packageFile, upper]);
  const modules = join(await guestKernel(), "usr/lib/uml/modules");
  await cp(modules, join(upper, "usr/lib/modules"), { recursive: true });
  for (const { path, content, mode } of guestControlFiles(umlControlLine))
    await put(upper, { [path]: content }, mode);
  await mkdir(dirname(join(upper, guestControlLink.path)), { recursive: true });
  await symlink(guestControlLink.target, join(upper, guestControlLink.path));
  for (const unit of masked) await symlink("/dev/null", join(upper, "etc/systemd/system", unit));
  const state = "LABEL=mos-state /var ext4 defaults 0 2\n";
  await put(upper, { "etc/machine-id": "", "etc/hostname": "layered\n", "etc/fstab": state });
  await mkdir(join(upper, "usr/share"), { recursive: true });
  await run("mknod", [join(upper, "usr/share/locale"), "c", "0", "0"]);
  const lower = await secureGuestBase();
  return [await pack(lower, "erofs", work, "lz4"), await pack(upper, "erofs", work, "lz4")];
}

/** A layer with one other byte. @param at where it is */
export async function flipped(layer: RootFile, at: number): Promise<RootFile> {
  const path = `${layer.path}.flipped-${at}`;
  await copyFile(layer.path, path);
  await using file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
  return { ...layer, path };
}

/** A file system for the state of a device, with these layers in its store. */
export async function makeState(image: string, layers: readonly RootFile[], size = "64M"): Promise<void> {
  const blobs = join(`${image}.tree`, "lib/mos/oci/blobs/sha256");
  await mkdir(blobs, { recursive: true });
  for (const { path, digest } of layers) await copyFile(path, join(blobs, hexOf(digest)));
  await run("mke2fs", ["-q", "-t", "ext4", "-L", "mos-state", "-d", `${image}.tree`, image, size]);
  await rm(`${image}.tree`, { recursive: true });
}

export interface StoredBoot {
  /** What is in the store. */
  readonly stored: readonly RootFile[];
  /** What the signed command line names; what is stored when left out. */
  readonly named?: readonly StoredLayer[];
  /** Behind that. */
  readonly words?: readonly string[];
}

/** Boots, and waits for the machine to be off. @returns its console */
export async function bootStored(
  work: string,
  initrd: string,
  name: string,
  { stored, named = stored, words = [] }: StoredBoot,
): Promise<string> {
  const image = join(work, `${name}.img`);
  await makeState(image, stored);
  const kernelArguments = [storedRootCommandLine(named), "init=/sbin/init", "mos.initrd=no", ...words];
  try {
    const start = {
      initrd,
      disks: [image],
      kernelArguments: kernelArguments.flatMap((one) => one.split(" ")),
    };
    await using staged = await StagedMachine.boot(`stored-${name}`, start);
    return `it did not end: ${staged.machine.console()}`;
  } catch (error) {
    return asMosError(error).message;
  }
}
