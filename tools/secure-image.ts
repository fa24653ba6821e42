// What the secure lane's guest boots from: a root file system of EROFS with a dm-verity tree on a disk that is never
// written, and beside it kernel and initrd for a UKI. Keys come later, with each test: nothing here is signed.
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, open, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { guestControlFiles, guestControlLink } from "../src/machine/guest-control.ts";
import { qemuControlLine } from "../src/machine/qemu.ts";
import { run } from "../src/system/process.ts";
import { cached } from "./cache.ts";
import { secureGuestBase, toolsRoot } from "./roots.ts";
import { logged, step } from "./say.ts";

export interface SecureImage {
  readonly toolsRoot: string;
  /** GPT disk with the root file system and its hash tree. */
  readonly rootDisk: string;
  /** Hex; goes to the signed command line. */
  readonly rootHash: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly osRelease: string;
}

/** Counts up when how the image is made changes in a way that its inputs do not show. */
const recipe = "2";

/** Units that a test guest has no use for, and that cost time at each boot. */
export const masked = [
  ...[
    "systemd-networkd-wait-online.service",
    "systemd-firstboot.service",
    "getty.target",
    "systemd-pstore.service",
  ],
  ...[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
  ],
  ...["e2scrub_reap.service", "podman-auto-update.timer", "podman-restart.service", "podman.socket"],
  ...[
    "netavark-dhcp-proxy.socket",
    "systemd-hwdb-update.service",
    "ldconfig.service",
    "serial-getty@ttyS0.service",
  ],
  ...["systemd-udev-settle.service", "systemd-journal-catalog-update.service", "systemd-update-done.service"],
];

const files = [
  ...guestControlFiles(qemuControlLine),
  { path: "/etc/hostname", mode: 0o644, content: "secure\n" },
  { path: "/etc/hosts", mode: 0o644, content: "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 secure\n" },
  {
    path: "/etc/fstab",
    mode: 0o644,
    content: "LABEL=mos-state /var ext4 defaults,x-systemd.device-timeout=60s 0 0\n",
  },
  {
    path: "/etc/systemd/network/80-machine.network",
    mode: 0o644,
    content: "[Match]\nType=ether\nKind=!veth\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
  },
  {
    path: "/etc/dracut.conf.d/mos.conf",
    mode: 0o644,
    content: [
      'hostonly="no"',
      'compress="zstd -3 -T0"',
      'dracutmodules="bash base systemd systemd-initrd systemd-journald systemd-udevd systemd-tmpfiles systemd-veritysetup dm kernel-modules rootfs-block udev-rules fs-lib shutdown mos"',
      'add_drivers+=" dm_verity erofs overlay ext4 virtio_blk virtio_pci efivarfs "',
      'install_items+=" /usr/lib/systemd/systemd-volatile-root /usr/lib/systemd/system/systemd-volatile-root.service "',
      'early_microcode="no"',
      "",
    ].join("\n"),
  },
  {
    path: "/etc/systemd/journald.conf.d/machine.conf",
    mode: 0o644,
    content: "[Journal]\nStorage=volatile\n",
  },
];

const links = [
  guestControlLink,
  {
    path: "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
    target: "/usr/lib/systemd/system/systemd-networkd.service",
  },
  ...masked.map((unit) => ({ path: `/etc/systemd/system/${unit}`, target: "/dev/null" })),
];

// Runs in a mount namespace of its own, as the guest-disk script does. Arguments: base tree, directory of our files,
// package, tools root, output directory.
const assemble = `
base=$1 files=$2 package=$3 tools=$4 out=$5
work=$(mktemp -d)
trap 'umount -R "$work" 2>/dev/null; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755,size=90% overlay "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/var/tmp"
cp "$package" "$root/root/mos.deb"
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }
inside apt-get install --yes --no-install-recommends /root/mos.deb
rm "$root/root/mos.deb"
cp -a "$files"/. "$root/"
version=$(ls "$root/usr/lib/modules")
inside dracut --no-early-microcode --force --kver "$version" /boot/initrd.mos
mkdir "$out"
mv "$root/boot/initrd.mos" "$out/initrd"
cp "$root/boot/vmlinuz-$version" "$out/vmlinuz"
cp "$root/usr/lib/os-release" "$out/os-release"
umount "$root/var/tmp"
umount -R "$root/dev" "$root/proc"
rm -rf "$root"/boot/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/locale/*
rm -f "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
touch "$root/etc/.updated" "$root/var/.updated"
mkdir "$root/factory"
mkdir -p "$work/tools"
mount --bind "$tools" "$work/tools"
mkdir -p "$work/tools/machine"
mount -t tmpfs tmpfs "$work/tools/machine"
mkdir "$work/tools/machine/root" "$work/tools/machine/out"
mount --bind "$root" "$work/tools/machine/root"
mount --bind "$out" "$work/tools/machine/out"
chroot "$work/tools" mkfs.erofs -zlz4 -T0 --quiet /machine/out/root.erofs /machine/root
`;

/** Makes the image for a package, or finds it in the cache. Needs root. */
export async function secureImage(packageFile: string): Promise<SecureImage> {
  const tools = await toolsRoot();
  const base = await secureGuestBase();
  const packageDigest = createHash("sha256")
    .update(await readFile(packageFile))
    .digest("hex");
  const inputs = [
    recipe,
    ...[base, tools, packageDigest, assemble, JSON.stringify(files), JSON.stringify(links)],
  ];
  const directory = await cached("secure", inputs, (path) =>
    step("making the secure guest's root, with the package installed", async () => {
      const ours = await mkdtemp(join(tmpdir(), "mos-guest-files-"));
      try {
        await chmod(ours, 0o755);
        await stage(ours);
        await logged("unshare", [
          ...["--mount", "--propagation", "private", "bash", "-euo", "pipefail", "-c", assemble, "assemble"],
          ...[base, ours, packageFile, tools, path],
        ]);
        await makeRootDisk(path);
      } finally {
        await rm(ours, { recursive: true, force: true });
      }
    }),
  );
  return {
    toolsRoot: tools,
    rootDisk: join(directory, "root.img"),
    rootHash: (await readFile(join(directory, "roothash"), "utf8")).trim(),
    kernel: join(directory, "vmlinuz"),
    initrd: join(directory, "initrd"),
    osRelease: join(directory, "os-release"),
  };
}

/** Discoverable partitions (UAPI group, "Discoverable Partitions Specification"): root and root-verity of x86-64. */
const rootType = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const rootVerityType = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5";

/** A uuid of 32 hex digits. */
function uuidOf(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Root and hash tree on one GPT disk; the halves of the root hash are the partitions' uuids, by which they are found. */
async function makeRootDisk(directory: string): Promise<void> {
  const path = (name: string): string => join(directory, name);
  await logged("veritysetup", [
    ...[
      "format",
      "--salt=-",
      `--root-hash-file=${path("roothash")}`,
      "--uuid=00000000-0000-0000-0000-000000000000",
    ],
    ...[path("root.erofs"), path("root.verity")],
  ]);
  const rootHash = (await readFile(path("roothash"), "utf8")).trim();
  const mebibyte = 1024 * 1024;
  const sizeOf = async (name: string): Promise<number> => Math.ceil((await stat(path(name))).size / mebibyte);
  const [rootSize, veritySize] = [await sizeOf("root.erofs"), await sizeOf("root.verity")];
  const script = [
    "label: gpt",
    `start=1MiB, size=${rootSize}MiB, type=${rootType}, uuid=${uuidOf(rootHash.slice(0, 32))}, name=root`,
    `size=${veritySize}MiB, type=${rootVerityType}, uuid=${uuidOf(rootHash.slice(32))}, name=root-verity`,
  ].join("\n");
  await truncate(path("root.img"), rootSize + veritySize + 2, mebibyte);
  await run("sfdisk", ["--quiet", path("root.img")], { stdin: `${script}\n` });
  for (const [name, at] of [["root.erofs", 1] as const, ["root.verity", 1 + rootSize] as const]) {
    await logged("dd", [
      ...[`if=${path(name)}`, `of=${path("root.img")}`, "bs=1M", `seek=${at}`],
      ...["conv=notrunc,sparse", "status=none"],
    ]);
    await rm(path(name));
  }
}

async function truncate(path: string, size: number, unit: number): Promise<void> {
  await using handle = await open(path, "w");
  await handle.truncate(size * unit);
}

async function stage(root: string): Promise<void> {
  for (const { path, content, mode } of files) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content, { mode });
  }
  for (const { path, target } of links) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
  }
}
