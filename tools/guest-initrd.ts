// The initrd of a machine-lane guest: systemd and the dracut module of this checkout, made by the guest's own dracut for
// the kernel of User-Mode Linux. It depends on the module's files and not on the executable, which is not in it.
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cached } from "./cache.ts";
import { secureGuestBase, toolsRoot } from "./roots.ts";
import { logged, step } from "./say.ts";
import { checkout } from "./stamp.ts";

const module = "initrd-hooks/dracut/60mos";

const dracutConfiguration = `hostonly="no"
compress="zstd -1 -T0"
dracutmodules="MODULES"
add_drivers+=" erofs ext4 dm_verity "
early_microcode="no"
`;

const dracutModules =
  "systemd systemd-initrd systemd-journald systemd-udevd systemd-tmpfiles base rootfs-block udev-rules fs-lib";

// Runs in a mount namespace of its own. Arguments: base tree, directory of our files, module, kernel modules, output.
const assemble = `
base=$1 files=$2 module=$3 modules=$4 out=$5
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
mkdir -p "$root/usr/lib/dracut/modules.d/60mos"
cp -a "$module"/. "$root/usr/lib/dracut/modules.d/60mos/"
version=$(ls "$modules")
chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 dracut --force --kver "$version" /root/initrd
cp "$root/root/initrd" "$out"
umount "$root/var/tmp"
umount -R "$root/dev" "$root/proc"
`;

export interface GuestInitrd {
  /** Files that the guest's initrd has besides, by path; those below /etc/mos/initrd are what the module puts there. */
  readonly files?: Readonly<Record<string, string>>;
  /** Whether the module is in it; default true. */
  readonly withModule?: boolean;
}

/** Makes the initrd, or finds it in the cache. Needs root. @returns its path */
export async function guestInitrd({ files = {}, withModule = true }: GuestInitrd = {}): Promise<string> {
  const tools = await toolsRoot();
  const base = await secureGuestBase();
  const directory = join(checkout, module);
  const names = (await readdir(directory)).sort();
  const parts = await Promise.all(names.map((name) => readFile(join(directory, name))));
  const installed = Object.keys(files).filter((path) => !path.startsWith("/etc/mos/initrd/"));
  const configuration = `${dracutConfiguration.replace("MODULES", `${dracutModules}${withModule ? " mos" : ""}`)}install_items+=" ${installed.join(" ")} "\n`;
  const inputs = [
    ...["2", base, tools, assemble, configuration, JSON.stringify(files), names.join(" ")],
    ...parts,
  ];
  return await cached("initrd", inputs, (path) =>
    step("making the guest's initrd", async () => {
      const ours = await mkdtemp(join(tmpdir(), "mos-guest-initrd-"));
      try {
        await chmod(ours, 0o755);
        for (const [name, content] of Object.entries({
          "/etc/dracut.conf.d/mos.conf": configuration,
          ...files,
        })) {
          await mkdir(dirname(join(ours, name)), { recursive: true });
          await writeFile(join(ours, name), content);
        }
        await logged("unshare", [
          ...["--mount", "--propagation", "private", "bash", "-euo", "pipefail", "-c", assemble, "assemble"],
          ...[base, ours, directory, join(tools, "usr/lib/uml/modules"), path],
        ]);
      } finally {
        await rm(ours, { recursive: true, force: true });
      }
    }),
  );
}
