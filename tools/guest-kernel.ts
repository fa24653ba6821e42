// The kernel of the machine lane's guests: User-Mode Linux out of Debian's kernel sources. Debian has it ready made, of
// 6.12, which stops a guest's processes by ptrace; since 6.16 it can by seccomp, and a guest takes half to a third of the time.
// Debian's newer ones have no packet filter that a guest could use: neither the old tables nor nf_tables for IP.
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { aptMirror } from "../src/image/debian-mirror.ts";
import { cached, monthStamp } from "./cache.ts";
import { logged, step } from "./say.ts";
import { checkout } from "./stamp.ts";

const suite = "trixie";
/** Has the sources of the newest kernel that is for this release. */
const backports = `${suite}-backports`;

const packages = [
  `linux-source/${backports}`,
  ...["gcc", "libc6-dev", "make", "flex", "bison", "bc", "perl", "kmod", "xz-utils", "libssl-dev"],
];

/** What of the sources User-Mode Linux has no use for, beside their Kconfig files. */
const unread = [
  "arch/[a-tvw]*.[chS]",
  "arch/*.dts*",
  "drivers/gpu/*.[ch]",
  "drivers/net/*/*.[ch]",
  "sound/*.[ch]",
];

// Runs in the tree that has the sources and the compiler. Every line of the fragment has to be what it says at the
// end: an option that the next kernel no longer has would otherwise be left out in silence.
const build = `
cd /build
tar --extract --strip-components=1 --file "$(ls /usr/src/linux-source-*.tar.xz)" "$@"
make -s ARCH=um x86_64_defconfig
scripts/kconfig/merge_config.sh -m .config /fragment
make -s ARCH=um olddefconfig
while read -r line; do
  case $line in
  CONFIG_*=n) if grep -q "^\${line%n}" .config; then echo "is set: \${line%=n}"; exit 1; fi ;;
  CONFIG_*) if ! grep -qxF "$line" .config; then echo "not to be had: $line"; exit 1; fi ;;
  esac
done < /fragment
make -j "$(nproc)" ARCH=um linux modules
make -s ARCH=um INSTALL_MOD_PATH=/out INSTALL_MOD_STRIP=1 modules_install
strip -o /out/linux.uml linux
`;

/**
 * A Debian tree with the kernel, its modules in usr/lib/uml/modules, and what bootUml() needs besides.
 * @returns its path
 */
export async function guestKernel(): Promise<string> {
  const fragment = await readFile(join(checkout, "tools/guest-kernel.config"), "utf8");
  return await cached("kernel", [suite, monthStamp(), ...packages, ...unread, build, fragment], (path) =>
    step("building the guest's kernel, which takes some minutes", async () => {
      const mirror = await aptMirror(/^(bookworm|trixie)$/);
      // Signed as any, but a mirror may be older than an archive that changes daily allows.
      const sources = [suite, backports].map((one) => `deb [check-valid-until=no] ${mirror} ${one} main`);
      const root = `${path}.build`;
      try {
        const include = `--include=${packages.join(",")}`;
        await logged("mmdebstrap", ["--variant=minbase", include, suite, root, ...sources]);
        for (const name of ["build", "out"]) await mkdir(join(root, name));
        await writeFile(join(root, "fragment"), fragment);
        await logged("chroot", [
          ...[root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8"],
          ...["bash", "-euo", "pipefail", "-c", build, "build"],
          ...unread.map((pattern) => `--exclude=linux-source-*/${pattern}`),
        ]);
        // Programs are started by env(1).
        await logged("mmdebstrap", ["--variant=extract", "--include=coreutils", suite, path, ...sources]);
        for (const name of ["dev", "proc", "tmp", "machine", "usr/lib/uml"])
          await mkdir(join(path, name), { recursive: true });
        for (const name of ["lib", "lib64", "bin", "sbin"]) await symlink(`usr/${name}`, join(path, name));
        await logged("cp", ["-a", join(root, "out/linux.uml"), join(path, "usr/bin/linux.uml")]);
        await logged("cp", ["-a", join(root, "out/lib/modules"), join(path, "usr/lib/uml/modules")]);
      } finally {
        await rm(root, { recursive: true, force: true });
      }
    }),
  );
}
