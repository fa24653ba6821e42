// The disk of a guest: the base tree, the kernel's modules, the mos package installed as a user would install it,
// and what makes the guest controllable and quick to boot. Nothing is mounted that could stay mounted.
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { guestControlFiles, guestControlLink } from "../src/machine/guest-control.ts";
import { guestNetworkFile } from "../src/machine/guest-network.ts";
import { umlControlLine } from "../src/machine/uml.ts";
import { cached } from "./cache.ts";
import { guestKernel } from "./guest-kernel.ts";
import { guestBase } from "./roots.ts";
import { logged, step } from "./say.ts";

interface Guest {
  /** ext4 image for {@link bootUml}; shared, never written. */
  readonly disk: string;
  /** Has the kernel. */
  readonly toolsRoot: string;
}

/** Sparse; the guest sees so much. */
const diskSize = "8G";

/** Units that a test guest has no use for, and that cost time at each boot. */
const masked = [
  ...[
    "systemd-networkd-wait-online.service",
    "systemd-firstboot.service",
    "getty.target",
    "e2scrub_reap.service",
  ],
  ...[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
  ],
  ...[
    "podman-auto-update.timer",
    "podman-restart.service",
    "netavark-dhcp-proxy.socket",
    "netavark-dhcp-proxy.service",
  ],
  ...["systemd-tpm2-setup.service", "systemd-tpm2-setup-early.service", "systemd-pstore.service"],
];

const files = [
  ...guestControlFiles(umlControlLine),
  guestNetworkFile,
  { path: "/etc/hostname", mode: 0o644, content: "device\n" },
  { path: "/etc/hosts", mode: 0o644, content: "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 device\n" },
  { path: "/etc/fstab", mode: 0o644, content: "/dev/ubda / ext4 defaults 0 0\n" },
  // Kept over power cuts, so that a test can read what happened before one.
  {
    path: "/etc/systemd/journald.conf.d/machine.conf",
    mode: 0o644,
    content: "[Journal]\nStorage=persistent\nForwardToConsole=no\nSyncIntervalSec=1s\n",
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

// Runs in a mount namespace of its own. Arguments: base tree, directory of our files, package, modules, image, size.
// Changes go to an overlay in memory, so the base stays as it is whatever happens.
const assemble = `
base=$1 files=$2 package=$3 modules=$4 image=$5 size=$6
work=$(mktemp -d)
trap 'umount -R "$work" 2>/dev/null; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755 overlay "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$package" "$root/root/mos.deb"
chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \\
  apt-get install --yes /root/mos.deb
rm "$root/root/mos.deb"
umount -R "$root/dev" "$root/proc"
mkdir -p "$root/usr/lib/modules"
cp -a "$modules"/. "$root/usr/lib/modules/"
cp -a "$files"/. "$root/"
rm -f "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
mkdir -p "$root/var/log/journal"
touch "$root/etc/.updated" "$root/var/.updated"
mke2fs -q -t ext4 -d "$root" "$image" "$size"
`;

/** Makes the disk for a package, or finds it in the cache. Needs root. */
export async function guestDisk(packageFile: string): Promise<Guest> {
  const kernel = await guestKernel();
  const base = await guestBase();
  const packageDigest = createHash("sha256")
    .update(await readFile(packageFile))
    .digest("hex");
  const inputs = [
    base,
    kernel,
    packageDigest,
    assemble,
    diskSize,
    JSON.stringify(files),
    JSON.stringify(links),
  ];
  const disk = await cached("disk", inputs, (image) =>
    step("making the guest's disk, with the package installed", async () => {
      const ours = await mkdtemp(join(tmpdir(), "mos-guest-files-"));
      try {
        await chmod(ours, 0o755);
        await stage(ours);
        const modules = join(kernel, "usr/lib/uml/modules");
        await logged("unshare", [
          ...["--mount", "--propagation", "private", "bash", "-euo", "pipefail", "-c", assemble, "assemble"],
          ...[base, ours, packageFile, modules, image, diskSize],
        ]);
      } finally {
        await rm(ours, { recursive: true, force: true });
      }
    }),
  );
  return { disk, toolsRoot: kernel };
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
