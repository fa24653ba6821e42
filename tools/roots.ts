// Debian trees in the cache, made by mmdebstrap from the mirror that this machine's apt uses: the tools root (programs
// that this machine's release has too old or not at all), the guests' bases, and what services of tests run in.
import { copyFile, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { aptMirror } from "../src/image/debian-mirror.ts";
import { run } from "../src/system/process.ts";
import { cached, monthStamp } from "./cache.ts";
import { logged, step } from "./say.ts";

const suite = "trixie";

/** Counts up when how a tree is made changes in a way its package list does not show. */
const recipe = "1";

const toolsPackages = [
  // EFI, TPM and unified kernel images: the secure lane's machine, and foreign programs to compare with.
  ...[
    "qemu-system-x86",
    "ovmf",
    "swtpm",
    "systemd-ukify",
    "systemd-boot-efi",
    "python3-virt-firmware",
    "sbsigntool",
  ],
  // Tests of generated units: podman's quadlet and systemd-analyze, as new as in the guest.
  ...[
    "podman",
    "systemd",
    "erofs-utils",
    "squashfs-tools",
    "squashfs-tools-ng",
    "cryptsetup-bin",
    "e2fsprogs",
    "kmod",
  ],
  // ./dev bench: whom we measure ourselves against, and with what.
  ...["skopeo", "oras", "rauc", "umoci", "curl", "ca-certificates", "time", "hyperfine"],
];

const guestPackages = [
  ...[
    "systemd",
    "systemd-sysv",
    "systemd-cryptsetup",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "procps",
    "util-linux",
  ],
  ...["podman", "crun", "netavark", "aardvark-dns", "conmon", "catatonit", "uidmap", "nftables"],
  ...["cryptsetup-bin", "dmsetup", "e2fsprogs", "erofs-utils", "curl", "libatomic1", "libstdc++6"],
];

/** What a device with firmware, a TPM and a verified root has besides: a kernel for it, and what makes its initrd. */
const secureGuestPackages = [
  ...guestPackages,
  ...["linux-image-cloud-amd64", "dracut", "zstd", "keyutils", "systemd-repart"],
  ...["tpm2-tools", "libtss2-tcti-device0t64"],
];

/** What makes an initrd without systemd, which cannot be installed beside dracut. */
const initramfsPackages = ["initramfs-tools", "busybox", "udev", "kmod", "e2fsprogs", "zstd"];

/** A device's root whose security updates deltas are measured with: what its services and its administrators use. */
const updatedPackages = [
  ...guestPackages,
  ...["nginx", "openssl", "ca-certificates", "python3", "sqlite3", "openssh-server", "tcpdump", "jq"],
];

/** coreutils: programs are started by env(1). */
const diskToolsPackages = ["qemu-utils", "coreutils"];

/** Where the registry of the demo keeps its images (a volume of the service) and listens. */
const registryConfig = `version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: ":5000"
`;

/** The tree with the programs of trixie that tests and benchmarks use; bind-mount what they work on to /machine. */
export function toolsRoot(): Promise<string> {
  return cached("tools", [recipe, suite, monthStamp(), ...toolsPackages], (path) =>
    step(
      `making the tools root (Debian ${suite}, ${toolsPackages.length} packages and what they need)`,
      async () => {
        await debootstrap(path, toolsPackages);
        await mkdir(join(path, "machine"));
      },
    ),
  );
}

/** The tree that every guest's disk begins with: what a device with podman has, without mos and without a kernel. */
export function guestBase(): Promise<string> {
  return cached("base", [recipe, suite, monthStamp(), ...guestPackages], (path) =>
    step(
      `making the guest's base (Debian ${suite}, ${guestPackages.length} packages and what they need)`,
      () => debootstrap(path, guestPackages),
    ),
  );
}

/** The tree of the secure lane's guest. */
export function secureGuestBase(): Promise<string> {
  return cached("secure-base", [recipe, suite, monthStamp(), ...secureGuestPackages], (path) =>
    step(
      `making the secure guest's base (Debian ${suite}, ${secureGuestPackages.length} packages and what they need)`,
      () => debootstrap(path, secureGuestPackages),
    ),
  );
}

/** The tree in which an initrd is made with initramfs-tools. */
export function initramfsBase(): Promise<string> {
  return cached("initramfs-base", [recipe, suite, monthStamp(), ...initramfsPackages], (path) =>
    step(`making a root with initramfs-tools (Debian ${suite})`, () => debootstrap(path, initramfsPackages)),
  );
}

/** The tree with programs that update by delta, to compare with. */
export function deltaToolsRoot(): Promise<string> {
  return cached("delta-tools", [recipe, suite, monthStamp()], (path) =>
    step(`making a root with casync and OSTree (Debian ${suite})`, async () => {
      await debootstrap(path, ["casync", "ostree"]);
      await mkdir(join(path, "machine"));
    }),
  );
}

/** One root before and after Debian's security updates of today. */
interface UpdatedRoots {
  readonly before: string;
  readonly after: string;
  /** Packages that have another version after. */
  readonly packages: number;
}

/** A root of Debian's release alone, and one with what its security archive has besides. */
export async function updatedRoots(): Promise<UpdatedRoots> {
  const path = await cached("updated", [recipe, suite, monthStamp(), ...updatedPackages], (to) =>
    step(`making a root before and after its security updates (Debian ${suite})`, async () => {
      await mkdir(to);
      const security = `deb ${await mirror("security")} ${suite}-security main`;
      await debootstrap(join(to, "before"), updatedPackages);
      await debootstrap(join(to, "after"), updatedPackages, "minbase", [security]);
      // It has access control lists, which squashfs does not store.
      for (const root of ["before", "after"]) {
        await rm(join(to, root, "var/log/journal"), { recursive: true, force: true });
      }
    }),
  );
  const [before, after] = [join(path, "before"), join(path, "after")];
  const had = new Set(await installed(before));
  return { before, after, packages: (await installed(after)).filter((one) => !had.has(one)).length };
}

/** The packages of a root, each with its version. */
async function installed(root: string): Promise<string[]> {
  const { stdout } = await run("dpkg-query", ["--root", root, "--show"]);
  return stdout.trim().split("\n");
}

/** What a service needs that is Debian's package `docker-registry` and the libraries it needs, and nothing else. */
export function registryRoot(): Promise<string> {
  return cached("registry", [recipe, "2", suite, monthStamp(), registryConfig], (path) =>
    step(`packing Debian's docker-registry (${suite}) into a root file system`, async () => {
      // `extract` unpacks without running maintainer scripts: no shell, no package manager is in it.
      await debootstrap(path, ["docker-registry"], "extract");
      for (const name of ["dev", "proc", "sys", "run", "tmp", "var/tmp", "var/lib/registry"]) {
        await mkdir(join(path, name), { recursive: true });
      }
      // The links of a merged /usr, which a maintainer script of base-files would have made.
      for (const name of ["lib", "lib64"]) await symlink(`usr/${name}`, join(path, name));
      await writeFile(join(path, "etc/registry.yml"), registryConfig);
      await writeFile(join(path, "etc/passwd"), "root:x:0:0:root:/:/sbin/nologin\n");
    }),
  );
}

/** podman of Debian bookworm, 4.3, which has no quadlet, with the one library that trixie has no more. */
export function olderPodman(): Promise<string> {
  return cached("older-podman", [recipe, "bookworm", monthStamp()], (path) =>
    step("taking podman out of Debian bookworm", async () => {
      const source = `deb ${await mirror()} bookworm main`;
      const whole = join(path, "whole");
      await mkdir(path, { recursive: true });
      await logged("mmdebstrap", ["--variant=extract", "--include=podman", "bookworm", whole, source]);
      await copyFile(join(whole, "usr/bin/podman"), join(path, "podman"));
      const library = "libsubid.so.4";
      await copyFile(join(whole, "usr/lib/x86_64-linux-gnu", library), join(path, library));
      await rm(whole, { recursive: true });
    }),
  );
}

/** sshd of another distribution than the guest's: Debian bookworm's package and what it needs, without a package manager. */
export function sshdRoot(): Promise<string> {
  return cached("sshd", [recipe, "bookworm", monthStamp()], (path) =>
    step("packing sshd of Debian bookworm into a root file system", async () => {
      const source = `deb ${await mirror()} bookworm main`;
      await logged("mmdebstrap", ["--variant=extract", "--include=openssh-server", "bookworm", path, source]);
      await rm(join(path, "usr/share"), { recursive: true });
      for (const name of ["dev", "proc", "sys", "run/sshd", "tmp", "var/tmp", "root"])
        await mkdir(join(path, name), { recursive: true });
      for (const name of ["lib", "lib64", "bin", "sbin"])
        await symlink(`usr/${name}`, join(path, name)).catch(() => undefined);
      const users = ["root:x:0:0:root:/root:/bin/sh", "sshd:x:106:65534::/run/sshd:/usr/sbin/nologin"];
      await writeFile(join(path, "etc/passwd"), `${users.join("\n")}\n`);
      await writeFile(join(path, "etc/group"), "root:x:0:\nnogroup:x:65534:\n");
    }),
  );
}

/** A first process has to say itself that it ends on SIGTERM; one that does not costs each stop podman's ten seconds. */
const endsWhenTold = (command: string) => `#!/bin/sh
trap 'kill $!; exit 0' TERM
${command} &
wait
exit 1
`;

/** What busyboxRoot() has besides busybox: `/bin/serve PORT` shows /www, and `/bin/idle` does nothing. */
const busyboxPrograms = {
  serve: endsWhenTold('/bin/busybox httpd -f -p "$1" -h /www'),
  idle: endsWhenTold("/bin/busybox sleep 1000000"),
};

/**
 * A program that needs musl: it says a line and waits until it is told to end. In assembly language, because Debian has
 * musl and no program that is linked with it, and an assembler is a tenth of a compiler. psABI x86-64; musl calls main.
 */
const muslProgram = `
.globl _start
_start:
  xor %ebp, %ebp
  mov (%rsp), %esi
  lea 8(%rsp), %rdx
  lea main(%rip), %rdi
  and $-16, %rsp
  xor %ecx, %ecx
  xor %r8d, %r8d
  xor %r9d, %r9d
  call __libc_start_main@PLT
main:
  push %rbx
  mov $15, %edi
  lea quit(%rip), %rsi
  call signal@PLT
  lea text(%rip), %rdi
  call puts@PLT
  xor %edi, %edi
  call fflush@PLT
wait:
  call pause@PLT
  jmp wait
quit:
  xor %edi, %edi
  call _exit@PLT
.section .rodata
text: .asciz "a program of musl runs"
.section .note.GNU-stack, "", @progbits
`;

/** A service with another C library than the guest's: nothing but one program, and Debian's package `musl`. */
export function muslRoot(): Promise<string> {
  return cached("musl", [recipe, suite, monthStamp(), muslProgram], (path) =>
    step(`linking a program with Debian's musl (${suite}) into a root file system`, async () => {
      const whole = `${path}.whole`;
      await debootstrap(whole, ["musl", "binutils"], "extract");
      for (const name of ["lib", "lib64", "bin", "sbin"])
        await symlink(`usr/${name}`, join(whole, name)).catch(() => undefined);
      const [loader, library] = ["lib/ld-musl-x86_64.so.1", "lib/x86_64-linux-musl/libc.so"];
      await writeFile(join(whole, "service.s"), muslProgram);
      await run("chroot", [whole, "/usr/bin/as", "-o", "/service.o", "/service.s"]);
      const link = ["-pie", "-z", "now", `--dynamic-linker=/${loader}`, "-o", "/service"];
      // By -l, so that it needs "libc.so", which is what musl's loader itself is.
      await run("chroot", [whole, "/usr/bin/ld", ...link, "/service.o", `-L/${dirname(library)}`, "-lc"]);
      for (const name of ["bin", "etc", "dev", "proc", "sys", "run", "tmp", "lib"])
        await mkdir(join(path, name), { recursive: true });
      await copyFile(join(whole, "service"), join(path, "bin/service"));
      await copyFile(join(whole, library), join(path, loader));
      await writeFile(join(path, "etc/passwd"), "root:x:0:0:root:/:/bin/false\n");
      await rm(whole, { recursive: true });
    }),
  );
}

/** The tree with QEMU's programs for disk images. */
export function diskToolsRoot(): Promise<string> {
  return cached("disk-tools", [recipe, suite, monthStamp(), ...diskToolsPackages], (path) =>
    step(`unpacking QEMU's programs for disks (Debian ${suite})`, async () => {
      await debootstrap(path, diskToolsPackages, "extract");
      for (const name of ["dev", "proc", "tmp", "mnt"]) await mkdir(join(path, name), { recursive: true });
      for (const name of ["lib", "lib64", "bin", "sbin"]) await symlink(`usr/${name}`, join(path, name));
    }),
  );
}

/** A service of two megabytes for tests: Debian's busybox-static, and the directories that a container needs. */
export function busyboxRoot(): Promise<string> {
  return cached("busybox", [recipe, suite, monthStamp(), JSON.stringify(busyboxPrograms)], (path) =>
    step(`packing Debian's busybox-static (${suite}) into a root file system`, async () => {
      const whole = `${path}.whole`;
      await debootstrap(whole, ["busybox-static"], "extract");
      for (const name of ["bin", "etc", "dev", "proc", "sys", "run", "tmp", "var/tmp", "www"]) {
        await mkdir(join(path, name), { recursive: true });
      }
      await copyFile(join(whole, "usr/bin/busybox"), join(path, "bin/busybox"));
      await symlink("busybox", join(path, "bin/sh"));
      for (const [name, script] of Object.entries(busyboxPrograms)) {
        await writeFile(join(path, "bin", name), script, { mode: 0o755 });
      }
      await writeFile(
        join(path, "etc/passwd"),
        "root:x:0:0:root:/:/bin/sh\nwww-data:x:33:33::/www:/bin/sh\n",
      );
      await rm(whole, { recursive: true });
    }),
  );
}

async function debootstrap(
  path: string,
  packages: readonly string[],
  variant: "minbase" | "extract" = "minbase",
  more: readonly string[] = [],
): Promise<void> {
  const source = `deb ${await mirror()} ${suite} main`;
  await logged("mmdebstrap", [
    `--variant=${variant}`,
    `--include=${packages.join(",")}`,
    suite,
    path,
    source,
    ...more,
  ]);
}

/** The mirror that apt is configured with: of the release, or of its security archive, which has another layout. */
async function mirror(archive: "release" | "security" = "release"): Promise<string> {
  const codename = archive === "release" ? /^(bookworm|trixie)$/ : /^(bookworm|trixie)-security$/;
  return await aptMirror(codename);
}
