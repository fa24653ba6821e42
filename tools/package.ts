// mos_VERSION_amd64.deb: a staged tree and dpkg-deb, the same bytes from the same commit.
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { run } from "../src/system/process.ts";
import { buildExecutable } from "./build.ts";
import { logged, step } from "./say.ts";
import { checkout, type Flavour, flavoured, outputDirectory, readStamp, type Stamp } from "./stamp.ts";

/** Names of the executable, as links. p11-kit owns /usr/bin/trust. */
const links = {
  "usr/bin/mosctl": "mos",
  "usr/bin/mosb": "mos",
  "usr/bin/mos-trust": "mos",
  "usr/sbin/mosd": "../bin/mos",
  "usr/lib/mos/mosd": "../../bin/mos",
  "usr/lib/mos/bin/trust": "../../../bin/mos",
  // containers/validator owns /usr/bin/validator, where it is installed.
  "usr/lib/mos/bin/validator": "../../../bin/mos",
};

/** Where bash looks for a command's completions. */
const completions = "usr/share/bash-completion/completions";

/** Builds the executable and the package of it. @returns paths of both */
export async function buildPackage(
  flavour: Flavour = "release",
): Promise<{ executable: string; packageFile: string }> {
  const executable = await buildExecutable(flavour);
  const stamp = flavoured(await readStamp(), flavour);
  const packageFile = join(outputDirectory(flavour), `mos_${stamp.version}_amd64.deb`);
  await step("making the Debian package", () => pack(executable, packageFile, stamp));
  return { executable, packageFile };
}

async function pack(executable: string, packageFile: string, stamp: Stamp): Promise<void> {
  const work = await mkdtemp(join(checkout, "dist", ".package-"));
  try {
    const tree = join(work, "tree");
    await stage(tree, executable, stamp);
    for (const path of await readdir(tree, { recursive: true, withFileTypes: true })) {
      if (path.isDirectory()) await chmod(join(path.parentPath, path.name), 0o755);
    }
    await chmod(tree, 0o755);
    const made = join(work, "mos.deb");
    // Level 3: a package that tests build and install again and again should not take a minute to compress.
    await logged("dpkg-deb", ["--root-owner-group", "-Zzstd", "-z3", "--build", tree, made], {
      env: { ...process.env, SOURCE_DATE_EPOCH: String(stamp.time) },
    });
    for (const name of await readdir(dirname(packageFile))) {
      if (/^mos_.*\.deb$/.test(name)) await rm(join(dirname(packageFile), name));
    }
    await rename(made, packageFile);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function stage(tree: string, executable: string, stamp: Stamp): Promise<void> {
  const put = async (path: string, content: string | Uint8Array, mode = 0o644): Promise<void> => {
    await mkdir(join(tree, path, ".."), { recursive: true });
    await writeFile(join(tree, path), content, { mode });
  };
  await put("usr/bin/mos", await readFile(executable), 0o755);
  for (const [path, target] of Object.entries(links)) {
    await mkdir(join(tree, path, ".."), { recursive: true });
    await symlink(target, join(tree, path));
  }
  await mkdir(join(tree, "etc/mos"), { recursive: true });
  await put("usr/share/doc/mos/copyright", await readFile(join(checkout, "packaging/copyright")));
  await stageHooks(put);
  for (const name of ["quadlet-generator", "quadlet-setup", "make-network", "wait-healthy"]) {
    await put(`usr/lib/mos/${name}`, await readFile(join(checkout, "packaging/podman", name)), 0o755);
  }
  for (const name of ["agent-ended", "bootkit-kernel", "esp-steps", "grow-state"]) {
    await put(`usr/lib/mos/${name}`, await readFile(join(checkout, "packaging/boot", name)), 0o755);
  }
  const rules = "99-zz-mos.rules";
  await put(`usr/lib/udev/rules.d/${rules}`, await readFile(join(checkout, "packaging/boot", rules)));
  const growth = "50-mos-state.conf";
  await put(`usr/lib/mos/repart.d/${growth}`, await readFile(join(checkout, "packaging/boot", growth)));
  await stageManual(put);
  await stageCompletions(executable, put);
  const units = await stageUnits(put);
  await stageControl(put, stamp, units);
}

type Put = (path: string, content: string | Uint8Array, mode?: number) => Promise<void>;

/** The dracut module and the hook of initramfs-tools, for whoever makes an initrd on a system with the package. */
async function stageHooks(put: Put): Promise<void> {
  for (const path of ["hooks/mos", "scripts/local-bottom/mos"]) {
    const content = await readFile(join(checkout, "initrd-hooks/initramfs-tools", path));
    await put(`usr/share/initramfs-tools/${path}`, content, 0o755);
  }
  for (const module of ["60mos", "61mos-encrypt"]) {
    const from = join(checkout, "initrd-hooks/dracut", module);
    for (const name of (await readdir(from)).sort()) {
      const content = await readFile(join(from, name));
      await put(`usr/lib/dracut/modules.d/${module}/${name}`, content, name.endsWith(".sh") ? 0o755 : 0o644);
    }
  }
}

async function stageManual(put: Put): Promise<void> {
  for (const page of await readdir(join(checkout, "packaging/man"))) {
    const section = page.slice(page.lastIndexOf(".") + 1);
    // zlib writes no name and no time, as `gzip -n` does.
    const content = gzipSync(await readFile(join(checkout, "packaging/man", page)), { level: 9 });
    await put(`usr/share/man/man${section}/${page}.gz`, content);
  }
}

async function stageCompletions(executable: string, put: Put): Promise<void> {
  for (const name of ["mosctl", "mosb"]) {
    const { exitCode, stdout } = await run(executable, [name, "completion", "bash"], { accept: [0, 1, 2] });
    if (exitCode === 0 && stdout !== "") await put(`${completions}/${name}`, stdout);
  }
}

/** @returns names of the units that can be enabled */
async function stageUnits(put: Put): Promise<string[]> {
  const directory = join(checkout, "units");
  const enabled = [];
  for (const unit of existsSync(directory) ? (await readdir(directory)).sort() : []) {
    const content = await readFile(join(directory, unit), "utf8");
    await put(`usr/lib/systemd/system/${unit}`, content);
    if (/^\[Install\]$/m.test(content)) enabled.push(unit);
  }
  return enabled;
}

async function stageControl(put: Put, stamp: Stamp, units: readonly string[]): Promise<void> {
  const directory = join(checkout, "packaging/debian");
  for (const name of await readdir(directory)) {
    const content = (await readFile(join(directory, name), "utf8"))
      .replaceAll("@VERSION@", stamp.version)
      .replaceAll("@UNITS@", units.join(" "))
      .replaceAll("@STARTED@", units.filter((unit) => /\.(socket|timer)$/.test(unit)).join(" "));
    await put(`DEBIAN/${name}`, content, name === "control" || name === "triggers" ? 0o644 : 0o755);
  }
}
