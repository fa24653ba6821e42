// The tree that an OS image begins with: made of Debian's packages, or one that is there already. It is always a copy
// of its own; what it was made from is for the lock.
import { chmod, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { parseIndex } from "../oci/model.ts";
import { run } from "../system/process.ts";
import { aptMirror } from "./debian-mirror.ts";
import type { ImageDescription } from "./description-schema.ts";
import { fileDigest } from "./file-digest.ts";
import type { ImageLock, LockedPackage } from "./lock.ts";

type Root = ImageDescription["root"];

/** What every device has: systemd, a kernel, what mos stands on, and what makes the initrd. */
const devicePackages = [
  ...["systemd", "systemd-sysv", "systemd-cryptsetup", "udev", "dbus", "kmod", "iproute2", "procps"],
  ...["podman", "crun", "netavark", "aardvark-dns", "conmon", "catatonit", "uidmap", "nftables"],
  ...["cryptsetup-bin", "dmsetup", "e2fsprogs", "tpm2-tools", "libtss2-tcti-device0t64"],
  ...["libatomic1", "libstdc++6", "dracut", "zstd", "systemd-repart"],
];

const timeoutMs = 2 * 3600_000;

// Run by mmdebstrap with the root as its argument, while apt's lists are still there. apt has verified the index
// that the digests are from.
const listPackages = `#!/bin/sh
set -eu
chroot "$1" dpkg-query --show --showformat='\${Package}:\${Architecture}=\${Version}\\n' |
  sed 's/:all=/=/' | xargs chroot "$1" apt-cache show --no-all-versions |
  grep -E '^(Package|Version|Architecture|SHA256): ' > "$(dirname "$0")/packages"
`;

/** Paragraphs of four fields, each beginning with the name. */
function parsePackages(text: string): LockedPackage[] {
  const paragraphs = text.split(/^(?=Package: )/m).filter((one) => one !== "");
  const packages = paragraphs.map((paragraph) => {
    const field = (name: string): string =>
      new RegExp(`^${name}: (.*)$`, "m").exec(paragraph)?.[1] ?? "unknown";
    return {
      ...{ name: field("Package"), version: field("Version"), architecture: field("Architecture") },
      digest: `sha256:${field("SHA256")}`,
    };
  });
  return packages.toSorted((a, b) =>
    `${a.name} ${a.architecture}` < `${b.name} ${b.architecture}` ? -1 : 1,
  );
}

async function makeDebian(
  { suite, mirror, kernel, packages }: NonNullable<Root["debian"]>,
  { tree, work, epoch }: TreeInput,
): Promise<ImageLock["root"]> {
  const hook = join(work, "list-packages");
  await writeFile(hook, listPackages);
  await chmod(hook, 0o755);
  const include = [...new Set([...devicePackages, kernel, ...packages])].join(",");
  const args = ["--variant=minbase", `--include=${include}`, `--customize-hook=${hook}`];
  // A mirror has every release that is kept; the running machine's own may be another one.
  const from = mirror ?? (await aptMirror(/^[a-z]+$/));
  // Else accounts would have the day of the build in /etc/shadow (mmdebstrap(1), shadow(5)).
  const env = { SOURCE_DATE_EPOCH: String(epoch) };
  await run("mmdebstrap", ["--quiet", ...args, suite, tree, `deb ${from} ${suite} main`], { timeoutMs, env });
  return { packages: parsePackages(await readFile(join(work, "packages"), "utf8")) };
}

async function copyTree(source: string, tree: string, work: string): Promise<ImageLock["root"]> {
  const found = await stat(source).catch(() => undefined);
  if (found === undefined || !(found.isDirectory() || found.isFile())) {
    throw new MosError("source-invalid", `the root of the image is not there: ${source}`, { about: source });
  }
  let archive = source;
  const keep = ["--numeric-owner", "--xattrs", "--xattrs-include=*"];
  if (found.isDirectory()) {
    // In one order, so that its digest says something: of content, owners, modes and times.
    archive = join(work, "root.tar");
    const order = ["--sort=name", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--mtime=@0"];
    await run("tar", ["--create", "--file", archive, ...order, ...keep, "--directory", source, "."], {
      timeoutMs,
    });
  }
  const digest = await fileDigest(archive);
  await mkdir(tree);
  await chmod(tree, 0o755);
  const restore = ["--same-owner", "--preserve-permissions", ...keep];
  await run("tar", ["--extract", "--file", archive, "--directory", tree, ...restore], { timeoutMs });
  if (archive !== source) await rm(archive);
  return { digest };
}

/** The digest of the one manifest of a layout that skopeo has just made. */
async function manifestDigest(layout: string): Promise<string> {
  const path = join(layout, "index.json");
  const [manifest] = parseIndex(await readFile(path), path).manifests;
  if (manifest !== undefined) return manifest.digest;
  throw new MosError("document-invalid", `${path} names no image`, { about: path });
}

/** An image whose layers are tar archives, as podman and Docker have them: fetched by skopeo, unpacked by umoci. */
async function unpackImage(
  source: string,
  tree: string,
  work: string,
  baseDirectory: string,
): Promise<ImageLock["root"]> {
  const layout = join(work, "os-image");
  const from = source.startsWith("oci:")
    ? `oci:${resolve(baseDirectory, source.slice("oci:".length))}`
    : source;
  await run("skopeo", ["copy", "--quiet", from, `oci:${layout}:root`], { timeoutMs });
  const digest = await manifestDigest(layout);
  await run("umoci", ["raw", "unpack", "--image", `${layout}:root`, tree], { timeoutMs });
  await rm(layout, { recursive: true });
  return { digest };
}

interface TreeInput {
  /** Does not exist yet. */
  readonly tree: string;
  readonly work: string;
  /** What relative paths are relative to. */
  readonly baseDirectory: string;
  /** Seconds: when the image says it was made. */
  readonly epoch: number;
}

/**
 * Makes the tree.
 * @throws MosError `source-invalid`, `program-missing`, `program-failed`, `no-space`
 */
export async function makeTree(root: Root, input: TreeInput): Promise<ImageLock["root"]> {
  if (root.debian !== undefined) return await makeDebian(root.debian, input);
  const { tree, work, baseDirectory } = input;
  const source = root.source ?? "";
  if (!source.startsWith("rootfs:")) return await unpackImage(source, tree, work, baseDirectory);
  return await copyTree(resolve(baseDirectory, source.slice("rootfs:".length)), tree, work);
}
