// A virtual machine without KVM: User-Mode Linux, a Linux kernel that is one process (docs/testing.md). A power
// cut is the end of that process; what it had written is in the copy-on-write file beside the shared disk.
//
// Nothing outlives the caller, however that ends: the kernel runs in a process namespace whose first process the
// system kills with us, and its mounts are in a mount namespace that goes with it.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Readable, Writable } from "node:stream";
import { MosError } from "../errors/mos-error.ts";
import { Control } from "./control.ts";
import { ownedName, sweep } from "./leftovers.ts";
import { Machine } from "./machine.ts";
import type { Network } from "./network.ts";

export interface UmlOptions {
  /** A Debian tree with the package user-mode-linux, and an empty directory /machine. */
  readonly toolsRoot: string;
  /** An ext4 image with systemd and the files of guest-control.ts. Shared and never written. */
  readonly disk: string;
  /** Unpacked by the kernel before it mounts the disk, which is then left to what is in it. */
  readonly initrd?: string;
  /** Default 1024. */
  readonly memoryMiB?: number;
  /** Further images, written to: /dev/ubdb and so on in the guest. */
  readonly disks?: readonly string[];
  /** A directory of the host that the guest can mount: `mount -t hostfs none DIR -o hostfs=/machine/share`. */
  readonly share?: string;
  /** Default none. */
  readonly network?: Network;
  /** Added to the kernel's command line; read anew at each start of the machine. */
  readonly kernelArguments?: readonly string[];
  /** Until the control channel answers; default 90 000. */
  readonly bootTimeoutMs?: number;
}

/** The serial line of the control channel in the guest; the host's end is `ssl0=` on the kernel's command line. */
export const umlControlLine = "/dev/ttyS0";

/** Directories of machines: on disk, because these files grow, and what is meant for short is often in memory. */
const workspace = "/var/tmp";

// Runs as the first process of its namespaces. Arguments: tools root, work directory, disk, share or "", number
// of further disks, these disks, initrd or "", then the kernel's arguments. The kernel keeps its memory in /dev/shm.
const launch = `set -e
root=$1 work=$2 disk=$3 share=$4 count=$5; shift 5
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,size=90% shm "$root/dev/shm"
mount -t proc proc "$root/proc"
mount --bind "$work" "$root/machine"
: > "$work/base.img"
mount --bind "$disk" "$root/machine/base.img"
if [ -n "$share" ]; then
  mkdir -p "$work/share"
  mount --bind "$share" "$root/machine/share"
fi
number=0
while [ "$number" -lt "$count" ]; do
  : > "$work/disk$number.img"
  mount --bind "$1" "$root/machine/disk$number.img"
  number=$((number + 1)); shift
done
if [ -n "$1" ]; then
  : > "$work/initrd.img"
  mount --bind "$1" "$root/machine/initrd.img"
fi
shift
exec chroot "$root" /usr/bin/env -i HOME=/machine TERM=linux PATH=/usr/sbin:/usr/bin /usr/bin/linux.uml "$@"
`;

/**
 * Boots a guest and waits until it can be controlled (early in its boot; what a caller needs beyond that it waits
 * for). Needs root. Dispose of the result, or everything is gone with this process.
 * @throws MosError `machine-failed` with the end of the console, `program-missing`
 */
export async function bootUml(options: UmlOptions): Promise<Machine> {
  await sweep(await readdir(workspace), (name) =>
    rm(join(workspace, name), { recursive: true, force: true }),
  );
  const directory = join(workspace, ownedName(randomBytes(4).toString("hex")));
  await mkdir(directory, { mode: 0o700 });
  const machine = new Machine({
    directory,
    consoleLog: join(directory, "console.log"),
    bootTimeoutMs: options.bootTimeoutMs ?? 90_000,
    power: () => powerOn(options, directory),
  });
  try {
    await machine.start();
  } catch (error) {
    await machine.dispose();
    throw error;
  }
  return machine;
}

function powerOn(options: UmlOptions, directory: string): { process: ChildProcess; control: Control } {
  const disks = (options.disks ?? []).map((path) => resolve(path));
  const log = openSync(join(directory, "console.log"), "a");
  const child = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "KILL"],
      ...(options.network === undefined ? [] : ["nsenter", `--net=/run/netns/${options.network.name}`]),
      ...["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"],
      ...["/bin/sh", "-c", launch, "uml", resolve(options.toolsRoot), directory, resolve(options.disk)],
      ...[options.share === undefined ? "" : resolve(options.share), String(disks.length), ...disks],
      ...[options.initrd === undefined ? "" : resolve(options.initrd)],
      ...kernelCommandLine(options, disks.length),
    ],
    { stdio: ["ignore", log, log, "pipe", "pipe"], detached: true },
  );
  closeSync(log);
  const [, , , toGuest, fromGuest] = child.stdio;
  if (!(toGuest instanceof Writable) || !(fromGuest instanceof Readable)) {
    throw new MosError("machine-failed", "cannot make a line to the guest");
  }
  return { process: child, control: new Control(fromGuest, toGuest) };
}

function kernelCommandLine(options: UmlOptions, disks: number): string[] {
  const letters = "bcdefghijklmnop";
  return [
    `mem=${options.memoryMiB ?? 1024}M`,
    // A guest's processes are stopped by seccomp, not by ptrace: fewer switches between processes of the host.
    "seccomp=auto",
    "ubd0=/machine/root.cow,/machine/base.img",
    ...(options.initrd === undefined ? [] : ["initrd=/machine/initrd.img"]),
    ...Array.from({ length: disks }, (_, index) => `ubd${letters[index]}=/machine/disk${index}.img`),
    ...(options.network === undefined
      ? []
      : [`vec0:transport=tap,ifname=${options.network.tap},depth=64,gro=1`]),
    ...["root=/dev/ubda", "rw", "init=/lib/systemd/systemd"],
    ...["con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:3,fd:4", "uml_dir=/machine/"],
    // 512 pseudo terminals of the BSD kind, which nobody uses and udev looks at one by one at each boot.
    "pty.legacy_count=0",
    ...["loglevel=5", "systemd.show_status=1", "systemd.log_color=0", "random.trust_cpu=on"],
    // Node's io_uring and a fork corrupt the page tables of 6.12 ("Bad page map"): it is off.
    "sysctl.kernel.io_uring_disabled=2",
    ...(options.kernelArguments ?? []),
  ];
}
