// Machines with firmware keys of their own for the secure lane: a keyset, a signed UKI, variables, a TPM, a disk for
// state. Each machine's files are in one directory; the root file system is shared and never written.
import { copyFile, mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Machine } from "../../src/machine/machine.ts";
import { createQemu } from "../../src/machine/qemu.ts";
import { run } from "../../src/system/process.ts";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { cacheDirectory } from "../../tools/cache.ts";
import { buildPackage } from "../../tools/package.ts";
import { type SecureImage, secureImage } from "../../tools/secure-image.ts";

const mebibyte = 1024 * 1024;

/** Runs a program of the tools root, with a directory of ours at /machine. */
export async function inTools(
  image: SecureImage,
  directory: string,
  argv: readonly string[],
): Promise<string> {
  const script =
    'mount --bind "$2" "$1/machine"; mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; root=$1; shift 2; exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/tmp LC_ALL=C.UTF-8 "$@"';
  const { stdout } = await run(
    "unshare",
    [
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-ec",
      script,
      "tools",
      image.toolsRoot,
      directory,
      ...argv,
    ],
    { timeoutMs: 120_000 },
  );
  return stdout;
}

async function guidOf(keys: string, name: string): Promise<string> {
  return (await readFile(join(keys, name, "guid"), "utf8")).trim();
}

/** What a machine of the lane is made of; everything is in `directory`. */
export class Factory {
  readonly directory: string;
  readonly image: SecureImage;
  readonly keys: string;

  private constructor(directory: string, image: SecureImage) {
    this.directory = directory;
    this.image = image;
    this.keys = join(directory, "keys/demo");
  }

  static async create(): Promise<Factory> {
    const packageFile = process.env["MOS_TEST_PACKAGE"] ?? (await buildPackage()).packageFile;
    const image = await secureImage(packageFile);
    const directory = await mkdtemp(join(tmpdir(), "mos-secure-"));
    const root = join(directory, "keys");
    await addKeyset({ root, name: "demo", organizations: ["Example"], keyType: "p256" });
    await addProject(root, "demo", "zot");
    for (const [from, to] of [
      [image.kernel, "vmlinuz"],
      [image.initrd, "initrd"],
      [image.osRelease, "os-release"],
    ] as const) {
      await copyFile(from, join(directory, to));
    }
    return new Factory(directory, image);
  }

  /** The signed part of what the kernel is told. */
  commandLine(more: readonly string[] = []): string {
    return [
      ...[`roothash=${this.image.rootHash}`, "root=/dev/mapper/root", "ro", "rootfstype=erofs"],
      ...["systemd.volatile=overlay", "console=ttyS0", "loglevel=4", "systemd.show_status=1"],
      ...[
        "systemd.log_color=0",
        "lsm=landlock,lockdown",
        "mitigations=off",
        "tsc=reliable",
        "clocksource=tsc",
      ],
      ...["audit=0", "random.trust_cpu=on", "no_timer_check", "panic=5"],
      ...more,
    ].join(" ");
  }

  /** Builds a UKI; `signer` names a key of the keyset, undefined leaves it unsigned. @returns its name */
  async uki(name: string, commandLine: string, signer: string | undefined): Promise<string> {
    await inTools(this.image, this.directory, [
      ...["ukify", "build", "--linux=/machine/vmlinuz", "--initrd=/machine/initrd"],
      ...["--os-release=@/machine/os-release", `--cmdline=${commandLine}`],
      ...(signer === undefined
        ? []
        : [
            "--signtool=sbsign",
            `--secureboot-private-key=/machine/keys/demo/${signer}/privkey.pem`,
            `--secureboot-certificate=/machine/keys/demo/${signer}/cert.pem`,
          ]),
      `--output=/machine/${name}`,
    ]);
    return name;
  }

  /** A disk with an EFI system partition that starts this UKI. */
  async bootDisk(uki: string): Promise<string> {
    const path = join(this.directory, `esp-${uki}.img`);
    const size = 96;
    await using handle = await open(path, "w");
    await handle.truncate((size + 2) * mebibyte);
    const esp = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
    await run("sfdisk", ["--quiet", path], {
      stdin: `label: gpt\nstart=1MiB, size=${size}MiB, type=${esp}\n`,
    });
    const target = `${path}@@1M`;
    await run("mformat", ["-i", target, "-F", "-T", String((size * mebibyte) / 512), "::"]);
    await run("mmd", ["-i", target, "::/EFI", "::/EFI/BOOT"]);
    await run("mcopy", ["-i", target, join(this.directory, uki), "::/EFI/BOOT/BOOTX64.EFI"]);
    return path;
  }

  /** The firmware's variables: the keyset's PK and KEK, and in db the keys that sign UKIs and the manifest CA. */
  async variables(name: string): Promise<string> {
    const cert = (key: string): string => `/machine/keys/demo/${key}/cert.pem`;
    const guid = (key: string): Promise<string> => guidOf(this.keys, key);
    const dbOwner = await guid("uefi-db");
    await inTools(this.image, this.directory, [
      ...["virt-fw-vars", "--input", "/usr/share/OVMF/OVMF_VARS_4M.fd", "--output", `/machine/${name}`],
      ...["--set-pk", await guid("uefi-pk"), cert("uefi-pk")],
      ...["--add-kek", await guid("uefi-kek"), cert("uefi-kek")],
      ...["--add-db", dbOwner, cert("uefi-db")],
      ...["--add-db", await guid("uki-production"), cert("uki-production")],
      ...["--add-db", dbOwner, cert("manifest-ca")],
      "--sb",
    ]);
    return join(this.directory, name);
  }

  /** An empty file system for state. */
  async stateDisk(name: string): Promise<string> {
    const path = join(this.directory, name);
    await run("mke2fs", ["-q", "-t", "ext4", "-L", "mos-state", path, "4G"]);
    return path;
  }

  async tpm(name: string): Promise<string> {
    const path = join(this.directory, name);
    await mkdir(path, { recursive: true });
    return path;
  }

  async machine(parts: {
    readonly bootDisk: string;
    readonly stateDisk: string;
    readonly variables: string;
    readonly tpmState?: string;
  }): Promise<Machine> {
    return await createQemu({
      toolsRoot: this.image.toolsRoot,
      variables: parts.variables,
      disks: [
        { path: parts.bootDisk, readOnly: false },
        { path: this.image.rootDisk, readOnly: true },
        { path: parts.stateDisk, readOnly: false },
      ],
      ...(parts.tpmState === undefined ? {} : { tpmState: parts.tpmState }),
    });
  }

  /** Keeps a console for whoever looks at a failure. */
  async keepConsole(name: string, machine: Machine): Promise<void> {
    await writeFile(join(cacheDirectory, "logs", `console-secure-${name}.log`), machine.console());
  }

  async dispose(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
