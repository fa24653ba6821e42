// The initrd of a machine-lane guest, with the hooks of this checkout, made by Debian's dracut or initramfs-tools for the
// kernel of User-Mode Linux. It depends on the hooks' files and not on the executable, which is not in it.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { cached } from "./cache.ts";
import { guestKernel } from "./guest-kernel.ts";
import { initramfsBase, secureGuestBase } from "./roots.ts";
import { logged, step } from "./say.ts";
import { checkout } from "./stamp.ts";

const dracutConfiguration = `hostonly="no"
compress="zstd -1 -T0"
dracutmodules="systemd systemd-initrd systemd-journald systemd-udevd systemd-tmpfiles base rootfs-block udev-rules fs-lib MODULES"
add_drivers+=" erofs ext4 dm_verity "
early_microcode="no"
`;

/** What a root out of the store needs besides, as src/image/make-initrd.ts has it. */
const storeConfiguration = `add_dracutmodules+=" dm "
add_drivers+=" loop overlay squashfs "
install_items+=" /usr/sbin/veritysetup /usr/lib/systemd/systemd-volatile-root /usr/lib/systemd/system/systemd-volatile-root.service "
`;

// Runs in a mount namespace of its own. Arguments: base tree, directory of our files, hooks of this checkout, kernel
// modules, output, and which of the makers.
const assemble = `
base=$1 files=$2 hooks=$3 modules=$4 out=$5 maker=$6
work=$(mktemp -d)
trap 'umount -R "$work" 2>/dev/null; rmdir "$work"' EXIT
mount -t tmpfs -o mode=755,size=90% overlay "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/var/tmp"
cp -a "$files"/. "$root/"
cp -a "$modules"/. "$root/usr/lib/modules/"
mkdir -p "$root/usr/lib/dracut/modules.d"
cp -a "$hooks/dracut/60mos" "$root/usr/lib/dracut/modules.d/"
if [ -d "$root/usr/share/initramfs-tools" ]; then
  cp -a "$hooks/initramfs-tools"/. "$root/usr/share/initramfs-tools/"
fi
version=$(ls "$modules")
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 "$@"; }
case $maker in
dracut) inside dracut --force --kver "$version" /root/initrd ;;
initramfs-tools) inside mkinitramfs -o /root/initrd "$version" ;;
esac
cp "$root/root/initrd" "$out"
umount "$root/var/tmp"
umount -R "$root/dev" "$root/proc"
`;

export interface GuestInitrd {
  /** What makes it; default dracut. */
  readonly maker?: "dracut" | "initramfs-tools";
  /** Whether mos is in it; default true. */
  readonly withMos?: boolean;
  /** Whether it can open a root out of the store (dracut); default false. */
  readonly withStore?: boolean;
}

/** Makes the initrd, or finds it in the cache. Needs root. @returns its path */
export async function guestInitrd({
  maker = "dracut",
  withMos = true,
  withStore = false,
}: GuestInitrd = {}): Promise<string> {
  const kernel = await guestKernel();
  const base = await (maker === "dracut" ? secureGuestBase() : initramfsBase());
  const directory = join(checkout, "initrd-hooks");
  const names = (await readdir(directory, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
  const contents = await Promise.all(names.map((name) => readFile(name)));
  const files: Record<string, string> = {
    "/etc/dracut.conf.d/mos.conf": `${dracutConfiguration.replace("MODULES", withMos ? "mos" : "")}${withStore ? storeConfiguration : ""}`,
    ...(withMos ? { "/etc/initramfs-tools/conf.d/mos": "" } : {}),
    // What a disk needs that is not the root's.
    "/etc/initramfs-tools/modules": "ext4\n",
  };
  const inputs = [
    ...[
      "3",
      base,
      kernel,
      assemble,
      maker,
      JSON.stringify(files),
      names.map((name) => basename(name)).join(" "),
    ],
    ...contents,
  ];
  return await cached(`initrd-${maker}`, inputs, (path) =>
    step(`making the guest's initrd (${maker})`, async () => {
      const ours = await mkdtemp(join(tmpdir(), "mos-guest-initrd-"));
      try {
        await chmod(ours, 0o755);
        for (const [name, content] of Object.entries(files)) {
          await mkdir(dirname(join(ours, name)), { recursive: true });
          await writeFile(join(ours, name), content);
        }
        await logged("unshare", [
          ...["--mount", "--propagation", "private", "bash", "-euo", "pipefail", "-c", assemble, "assemble"],
          ...[base, ours, directory, join(kernel, "usr/lib/uml/modules"), path, maker],
        ]);
      } finally {
        await rm(ours, { recursive: true, force: true });
      }
    }),
  );
}
