// The initrd of an image, made by the root's own dracut: with what opens the verified root, with mos's own stage, and
// for a device whose state is encrypted with what opens that.
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RootTree } from "../elf/root-tree.ts";
import { MosError } from "../errors/mos-error.ts";
import type { ImageDescription } from "./description-schema.ts";
import { runInRoot } from "./in-root.ts";

interface InitrdInput {
  readonly tree: string;
  /** Seconds. */
  readonly epoch: number;
  /** The kernel's. */
  readonly version: string;
}

/** Where in the root files are that programs in it work on; gone afterwards. */
export const exchange = ".mos-image";

const initrdModules = [
  ...["base", "systemd", "systemd-initrd", "systemd-journald", "systemd-udevd", "systemd-tmpfiles"],
  ...["systemd-veritysetup", "dm", "kernel-modules", "rootfs-block", "udev-rules", "fs-lib", "shutdown"],
];
const initrdDrivers = [
  ...["dm_verity", "erofs", "overlay", "ext4", "efivarfs", "virtio_blk", "virtio_pci", "virtio_scsi", "nvme"],
  ...["ahci", "sd_mod"],
  // A root out of the store (initrd-hooks/dracut/60mos/mos-hostfs.sh).
  "loop",
  "squashfs",
];
/** And for that root. */
const verityProgram = "/usr/sbin/veritysetup";
/** For an installer's optical disc (mos-medium.sh). */
const discDrivers = ["sr_mod", "cdrom"];
const discProgram = ["/usr/sbin/losetup", "/usr/bin/losetup"];
const volatileRoot = [
  "/usr/lib/systemd/systemd-volatile-root",
  "/usr/lib/systemd/system/systemd-volatile-root.service",
];

/** What the initrd of a device with an encrypted state has besides, by Debian's packages. */
const encryptionPackages: Readonly<Record<string, readonly string[]>> = {
  mos: ["/usr/lib/dracut/modules.d/61mos-encrypt/module-setup.sh"],
  "cryptsetup-bin": ["/usr/sbin/cryptsetup", "/usr/bin/cryptsetup"],
  dmsetup: ["/usr/sbin/dmsetup", "/usr/bin/dmsetup"],
  "tpm2-tools": ["/usr/bin/tpm2"],
  "libtss2-tcti-device0t64": [
    "/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0",
    "/usr/lib64/libtss2-tcti-device.so.0",
    "/usr/lib/libtss2-tcti-device.so.0",
  ],
  e2fsprogs: ["/usr/sbin/mke2fs", "/usr/bin/mke2fs"],
  coreutils: ["/usr/bin/basenc"],
};

/** What the root has besides where it has swap beside that state. */
const swapPackages: typeof encryptionPackages = {
  "systemd-cryptsetup": ["/usr/lib/systemd/systemd-cryptsetup"],
  "util-linux": ["/usr/sbin/mkswap", "/usr/bin/mkswap"],
};

/** @throws MosError `image-root-unusable` for a root that could not encrypt */
function checkEncryption(root: RootTree, hasSwap: boolean): void {
  const packages = { ...encryptionPackages, ...(hasSwap ? swapPackages : {}) };
  const missing = Object.entries(packages).filter(
    ([, paths]) => !paths.some((path) => root.find(path)?.kind === "file"),
  );
  if (missing.length === 0) return;
  throw new MosError(
    "image-root-unusable",
    `cannot make a system that encrypts its state: the root lacks ${missing.map(([name]) => name).join(", ")}`,
    {
      problems: missing.map(([name, paths]) => `${paths[0]} (Debian's package ${name})`),
      hint: "Add the packages to root.debian.packages or to the root, or leave out disk.encrypt.",
    },
  );
}

/**
 * Makes it.
 * @throws MosError `image-root-unusable`, `program-failed`, `program-missing`, `io-failed`
 */
export async function makeInitrd(
  description: ImageDescription,
  { tree, epoch, version }: InitrdInput,
  to: string,
): Promise<void> {
  const root = new RootTree([tree]);
  if (root.find("/usr/bin/dracut") === undefined) {
    throw new MosError("image-root-unusable", "cannot make an initrd: the root has no dracut", {
      about: "/usr/bin/dracut",
    });
  }
  const hasMos = root.find("/usr/lib/dracut/modules.d/60mos") !== undefined;
  const hasBash = root.find("/usr/lib/dracut/modules.d/00bash") !== undefined;
  const { encrypt, swap } = description.disk;
  if (encrypt !== undefined) checkEncryption(root, swap !== undefined);
  const modules = [
    ...(hasBash ? ["bash"] : []),
    ...initrdModules,
    ...(hasMos ? ["mos"] : []),
    ...(encrypt === undefined ? [] : ["mos-encrypt"]),
  ];
  const installs = description.installer !== undefined;
  const drivers = [...initrdDrivers, ...(installs ? discDrivers : []), ...description.root.drivers];
  const programs = [[verityProgram], ...(installs ? [discProgram] : [])].flatMap(
    (paths) => paths.find((path) => root.find(path) !== undefined) ?? [],
  );
  const config = [
    ...['hostonly="no"', 'reproducible="yes"', 'early_microcode="no"', 'compress="zstd -3 -T1"'],
    `dracutmodules="${modules.join(" ")}"`,
    `add_drivers+=" ${drivers.join(" ")} "`,
    `install_items+=" ${[...volatileRoot, ...programs].join(" ")} "`,
  ];
  await mkdir(join(tree, exchange));
  try {
    await writeFile(join(tree, exchange, "dracut.conf"), `${config.join("\n")}\n`);
    await runInRoot(tree, epoch, [
      ...["dracut", "--conf", `/${exchange}/dracut.conf`, "--confdir", `/${exchange}`, "--force"],
      ...["--no-early-microcode", "--kver", version, `/${exchange}/initrd`],
    ]);
    await copyFile(join(tree, exchange, "initrd"), to);
  } finally {
    await rm(join(tree, exchange), { recursive: true, force: true });
  }
}
