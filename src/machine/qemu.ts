// A virtual machine with firmware: QEMU with OVMF, Secure Boot and a TPM (swtpm). KVM when it works, which only
// trying tells, else emulation, where everything takes some ten times as long.
//
// Nothing outlives the caller, however that ends: QEMU and swtpm run in a process namespace whose first process the
// system kills with us, and their mounts are in a mount namespace that goes with it.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Readable, Writable } from "node:stream";
import { MosError } from "../errors/mos-error.ts";
import { Control } from "./control.ts";
import { ownedName, sweep } from "./leftovers.ts";
import { Machine } from "./machine.ts";

interface QemuDisk {
  readonly path: string;
  /** A shared disk that is never written. */
  readonly readOnly: boolean;
  /** An optical disc: /dev/sr0 and so on in the guest. */
  readonly isOptical?: boolean;
}

export interface QemuOptions {
  /** A Debian tree with the packages qemu-system-x86, ovmf and swtpm, and an empty directory /machine. */
  readonly toolsRoot: string;
  /** virtio disks: /dev/vda and so on in the guest, and in this order for the firmware. */
  readonly disks: readonly QemuDisk[];
  /** The firmware's variables, written to: a copy of OVMF_VARS_4M.fd, with keys or without. */
  readonly variables: string;
  /** Directory of the TPM's state, written to; undefined for a machine without a TPM. */
  readonly tpmState?: string;
  /** Default 2048. */
  readonly memoryMiB?: number;
  /** Until the control channel answers; default 600 000. */
  readonly bootTimeoutMs?: number;
}

/** The serial line of the control channel in the guest: the second; the firmware and the kernel's console have the first. */
export const qemuControlLine = "/dev/ttyS1";

/** Where the guest reaches this machine's loopback address (QEMU's user-mode network). */
export const qemuHostAddress = "10.0.2.2";

const workspace = "/var/tmp";

// Runs as the first process of its namespaces. Arguments: tools root, work directory, variables, TPM state or "",
// number of disks, these disks, then QEMU's arguments.
const launch = `set -e
root=$1 work=$2 variables=$3 tpm=$4 count=$5; shift 5
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --bind "$work" "$root/machine"
: > "$work/variables.fd"
mount --bind "$variables" "$root/machine/variables.fd"
number=0
while [ "$number" -lt "$count" ]; do
  : > "$work/disk$number.img"
  mount --bind "$1" "$root/machine/disk$number.img"
  number=$((number + 1)); shift
done
inside() { exec chroot "$root" /usr/bin/env -i HOME=/machine TMPDIR=/machine PATH=/usr/sbin:/usr/bin "$@"; }
if [ -n "$tpm" ]; then
  mkdir -p "$work/tpm"
  mount --bind "$tpm" "$root/machine/tpm"
  rm -f "$work/tpm.sock"
  (inside swtpm socket --tpm2 --tpmstate dir=/machine/tpm --ctrl type=unixio,path=/machine/tpm.sock --log level=1) >&2 &
  tries=0
  until [ -S "$work/tpm.sock" ]; do
    tries=$((tries + 1)); [ "$tries" -lt 500 ] || { echo "swtpm does not listen" >&2; exit 1; }
    sleep 0.02
  done
fi
inside qemu-system-x86_64 "$@"
`;

/** How the guest's instructions are carried out. */
type Acceleration = "kvm" | "tcg";

let acceleration: Promise<Acceleration> | undefined;

/** The firmware alone is at its boot menu within two seconds where KVM works. */
const probeTimeoutMs = 20_000;

/** What the firmware says when it has come as far as looking for something to start. */
const firmwareReady = "BdsDxe";

/**
 * Whether KVM works here for a machine like ours, which only trying tells: the firmware must come up under it. The
 * device node says nothing, because it may belong to a host that emulates every instruction, where guests die, or
 * that has no system management mode.
 */
function probeAcceleration(toolsRoot: string): Promise<Acceleration> {
  acceleration ??= tryKvm(toolsRoot).then((works) => (works ? "kvm" : "tcg"));
  return acceleration;
}

async function tryKvm(toolsRoot: string): Promise<boolean> {
  if (!existsSync("/dev/kvm")) return false;
  const directory = await mkdtemp(join(workspace, `${ownedName("kvm")}-`));
  try {
    const variables = join(directory, "probe.fd");
    await copyFile(join(toolsRoot, "usr/share/OVMF/OVMF_VARS_4M.fd"), variables);
    const { process: child, control } = powerOn({ toolsRoot, variables, disks: [] }, directory, "kvm");
    const ended = once(child, "close");
    const end = performance.now() + probeTimeoutMs;
    let said = "";
    while (!control.closed && performance.now() < end && !said.includes(firmwareReady)) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      said = await readFile(join(directory, "console.log"), "utf8");
    }
    child.kill("SIGKILL");
    await ended;
    return said.includes(firmwareReady);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Makes a machine that is switched off; {@link Machine.start} starts it. Needs root. Dispose of the result.
 * @throws MosError `program-missing`
 */
export async function createQemu(options: QemuOptions): Promise<Machine> {
  await sweep(await readdir(workspace), (name) =>
    rm(join(workspace, name), { recursive: true, force: true }),
  );
  const accel = await probeAcceleration(options.toolsRoot);
  const directory = join(workspace, ownedName(randomBytes(4).toString("hex")));
  await mkdir(directory, { mode: 0o700 });
  return new Machine({
    directory,
    consoleLog: join(directory, "console.log"),
    bootTimeoutMs: options.bootTimeoutMs ?? 600_000,
    power: () => powerOn(options, directory, accel),
  });
}

function powerOn(
  options: QemuOptions,
  directory: string,
  accel: Acceleration,
): { process: ChildProcess; control: Control } {
  const disks = options.disks.map(({ path }) => resolve(path));
  const log = openSync(join(directory, "console.log"), "a");
  const child = spawn(
    "setpriv",
    [
      ...["--pdeathsig", "KILL"],
      ...["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"],
      ...["/bin/sh", "-c", launch, "qemu", resolve(options.toolsRoot), directory, resolve(options.variables)],
      ...[options.tpmState === undefined ? "" : resolve(options.tpmState), String(disks.length), ...disks],
      ...qemuArguments(options, accel),
    ],
    { stdio: ["pipe", "pipe", log], detached: true },
  );
  closeSync(log);
  const { stdin, stdout } = child;
  if (!(stdin instanceof Writable) || !(stdout instanceof Readable)) {
    throw new MosError("machine-failed", "cannot make a line to the guest");
  }
  return { process: child, control: new Control(stdout, stdin) };
}

/**
 * An older processor with the instructions that cryptography and random numbers use. What the newest model has besides
 * (five levels of page tables, protected user pages, wide registers) makes each switch and each look-up of a page dearer
 * to emulate: a boot took 71 to 76 s with this one, and 90 to 92 s with `max`. One of AMD's, because on Intel's of that
 * age Linux changes page tables at each system call.
 */
const emulatedCpu = [
  "Opteron_G3",
  ...["ssse3", "sse4.1", "sse4.2", "aes", "sha-ni", "rdrand", "rdseed", "fsgsbase"].map((one) => `+${one}`),
].join(",");

function qemuArguments(options: QemuOptions, accel: Acceleration): string[] {
  return [
    // System management mode keeps the firmware's variables from the system; without it this OVMF does not start.
    ...["-machine", "q35,smm=on,vmport=off", "-global", "driver=cfi.pflash01,property=secure,value=on"],
    ...(accel === "kvm"
      ? ["-accel", "kvm", "-cpu", "host"]
      : ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", emulatedCpu]),
    ...["-smp", "2", "-m", String(options.memoryMiB ?? 2048)],
    ...["-nodefaults", "-display", "none", "-no-user-config"],
    ...["-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd"],
    ...["-drive", "if=pflash,unit=1,format=raw,file=/machine/variables.fd"],
    ...["-chardev", "file,id=console,path=/machine/console.log,append=on", "-serial", "chardev:console"],
    ...["-chardev", "stdio,id=control,signal=off", "-serial", "chardev:control"],
    ...["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"],
    ...["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="],
    ...options.disks.flatMap(({ readOnly, isOptical }, i) => [
      ...[
        "-drive",
        `if=none,id=disk${i},format=raw,readonly=${readOnly ? "on" : "off"},file=/machine/disk${i}.img`,
      ],
      ...["-device", `${isOptical === true ? "ide-cd" : "virtio-blk-pci"},drive=disk${i},bootindex=${i}`],
    ]),
    ...(options.tpmState === undefined
      ? []
      : [
          ...["-chardev", "socket,id=tpm,path=/machine/tpm.sock", "-tpmdev", "emulator,id=tpm0,chardev=tpm"],
          ...["-device", "tpm-crb,tpmdev=tpm0"],
        ]),
  ];
}
