// mosb image build: from a description to a disk that boots. The same inputs give the same bytes: they are all in
// the lock, nothing has a time of its own, and names that have to be unique are derived from what they name.
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, open, readFile, rename, rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { writeFileAtomic } from "../system/atomic-file.ts";
import { run } from "../system/process.ts";
import { keysetPath } from "../trust/keyset-files.ts";
import { makeBootPrograms } from "./boot-files.ts";
import { makeBootTargets, rootLayer } from "./boot-targets.ts";
import type { ImageDescription } from "./description-schema.ts";
import { makeDisks } from "./disks.ts";
import { copyRelease } from "./factory.ts";
import { fileDigest } from "./file-digest.ts";
import { makeHostfs } from "./hostfs.ts";
import { installedPackages } from "./installed-packages.ts";
import { checkLock, encodeLock, type ImageLock, parseLock } from "./lock.ts";
import { makeTree } from "./os-source.ts";
import { finishTree } from "./os-tree.ts";
import { sbom } from "./sbom.ts";
import { makeLowerTree, splitRoot } from "./split-root.ts";

interface BuildInput {
  readonly description: ImageDescription;
  /** What relative paths in it are relative to. */
  readonly baseDirectory: string;
  readonly lockFile: string;
  readonly updateLock: boolean;
  /** Directory of all keysets. */
  readonly keysets: string;
  readonly outputDirectory: string;
  /** The disk is to be there as qcow2 too. */
  readonly qcow2: boolean;
  /** The system is to be there as targets of a manifest too, for devices that update to it. */
  readonly targets?: boolean;
  /** Files that are there already may be replaced. */
  readonly replace: boolean;
  /** Seconds; undefined takes that of the lock, or now for the first one. */
  readonly epoch: number | undefined;
  readonly onStep: (what: string) => void;
}

export interface BuiltImage {
  readonly raw: string;
  readonly qcow2?: string;
  /** OCI layout with the images `hostfs` and `bootkit`, when there is to be one, and its kernel image's command line. */
  readonly targets?: string;
  readonly targetsCommandLine?: string;
  /** The installer's medium, when there is to be one. */
  readonly installer?: string;
  readonly uki: string;
  readonly sbom: string;
  readonly lock: string;
  readonly rootHash: string;
  readonly commandLine: string;
  readonly packages: number;
  /** Bytes of the root and its hash tree. */
  readonly rootBytes: number;
  /** Bytes of the disk that are not holes. */
  readonly diskBytes: number;
  readonly digest: string;
}

/** How many steps {@link BuildInput.onStep} is called for. */
export const buildSteps = 7;

async function readLock(file: string): Promise<ImageLock | undefined> {
  return existsSync(file) ? parseLock(await readFile(file), file) : undefined;
}

/** Files of the description, by the paths that it has for them. */
async function digests({ description, baseDirectory }: BuildInput): Promise<Record<string, string>> {
  const { root, boot, trust } = description;
  const named = [
    ...root.install,
    ...root.files.flatMap(({ source }) => (source === undefined ? [] : [source])),
    ...[boot.splash, boot.loader_file, trust.policy].filter((path) => path !== undefined),
  ];
  const found: Record<string, string> = {};
  for (const path of named) found[path] = await fileDigest(resolve(baseDirectory, path));
  return found;
}

function checkOutput(paths: readonly string[], replace: boolean): void {
  const there = paths.find((path) => existsSync(path));
  if (there === undefined || replace) return;
  throw new MosError("output-exists", `cannot write ${there}: it is there already`, {
    about: there,
    hint: "--replace writes over it.",
  });
}

/** What is empty takes no room in it, wherever it is copied. */
async function convert(raw: string, to: string): Promise<void> {
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, to], { timeoutMs: 3600_000 });
}

/** @throws MosError `permission-denied` */
function needRoot(): void {
  if (process.geteuid?.() === 0) return;
  throw new MosError("permission-denied", "cannot build an image: owners of files need root", {
    hint: "Run it as root, or: unshare --map-auto --map-root-user --setuid 0 --setgid 0 mosb image build …",
  });
}

/**
 * Builds an image. What is not finished leaves nothing behind.
 * @throws MosError `image-root-unusable`, `image-lock-mismatch`, `program-unresolved`, `output-exists`,
 * `permission-denied`, and what its steps throw
 */
export async function buildImage(input: BuildInput): Promise<BuiltImage> {
  needRoot();
  const { description, baseDirectory, onStep } = input;
  const { name, release } = description;
  const output = (suffix: string): string =>
    join(resolve(input.outputDirectory), `${name}_${release}${suffix}`);
  const results = { raw: output(".raw"), uki: output(".efi"), sbom: output(".spdx.json") };
  const optional = {
    ...(description.installer === undefined ? {} : { installer: output(".installer.raw") }),
    ...(input.qcow2 ? { qcow2: output(".qcow2") } : {}),
    ...(input.targets === true ? { targets: output(".oci") } : {}),
  };
  checkOutput([...Object.values(results), ...Object.values(optional)], input.replace);
  const keyset = await keysetPath(input.keysets, description.boot.keyset);
  const locked = input.updateLock ? undefined : await readLock(input.lockFile);
  const epoch = input.epoch ?? locked?.epoch ?? Math.floor(Date.now() / 1000);
  await mkdir(input.outputDirectory, { recursive: true });
  const work = await mkdtemp(join(resolve(input.outputDirectory), ".image-"));
  try {
    const path = (part: string): string => join(work, part);
    onStep("making the root");
    const root = await makeTree(description.root, { tree: path("tree"), work, baseDirectory, epoch });
    const factory = description.services === undefined ? undefined : path("factory");
    const services =
      factory === undefined || description.services === undefined
        ? undefined
        : await copyRelease(servicesReference(description.services, baseDirectory), factory);
    const lock: ImageLock = {
      ...{ version: 1, epoch, root, files: await digests(input) },
      ...(services === undefined ? {} : { services }),
    };
    if (locked !== undefined) checkLock(locked, lock, input.lockFile);
    const tree = path("tree");
    const lower = optional.targets !== undefined && description.root.layers > 1 ? path("lower") : undefined;
    if (lower !== undefined) await makeLowerTree(tree, lower);
    onStep("making the initrd");
    const files = await finishTree({
      description,
      tree,
      output: path("boot"),
      baseDirectory,
      factory,
      epoch,
    });
    onStep("listing what is in it");
    const packages = await installedPackages(tree);
    onStep("packing the root");
    const seed = `${name} ${release} ${encodeLock(lock)}`;
    const { compression } = description.root;
    const [rootFile, verityFile] = [path("root.erofs"), path("root.verity")];
    const rootHash = await makeHostfs({ tree, epoch, seed, compression, root: rootFile, verity: verityFile });
    onStep("signing");
    const absolute = (one: string | undefined): string | undefined =>
      one === undefined ? undefined : resolve(baseDirectory, one);
    const boot = await makeBootPrograms({
      ...{ description, files, rootHash, tree, keyset, work },
      ...{ splash: absolute(description.boot.splash), loader: absolute(description.boot.loader_file) },
      ...{ policy: absolute(description.trust.policy) },
    });
    const targets =
      optional.targets === undefined
        ? undefined
        : await makeBootTargets(
            lower === undefined
              ? [await rootLayer({ root: rootFile, verity: verityFile, rootHash, work })]
              : await splitRoot({ lower, whole: tree, compression, work }),
            { directory: path("targets"), work },
            boot.buildKernel,
          );
    onStep("putting the disk together");
    const disks = await makeDisks({
      ...{ description, boot, rootHash, epoch, seed, work },
      ...{ root: rootFile, verity: verityFile },
    });
    onStep("finishing");
    const osRelease = await readFile(files.osRelease, "utf8");
    const distribution = /^ID="?([^"\n]*)"?$/m.exec(osRelease)?.[1] ?? "linux";
    const document = sbom({ name, release, rootHash, epoch, distribution, packages, services });
    const digest = await fileDigest(disks.raw);
    const sizes = await Promise.all([rootFile, verityFile, disks.raw].map(sizeOf));
    if (optional.qcow2 !== undefined) await convert(disks.raw, path("qcow2"));
    await writeFileAtomic(results.sbom, document);
    await rename(boot.uki, results.uki);
    await rename(disks.raw, results.raw);
    if (optional.qcow2 !== undefined) await rename(path("qcow2"), optional.qcow2);
    if (optional.targets !== undefined) {
      await rm(optional.targets, { recursive: true, force: true });
      await rename(path("targets"), optional.targets);
    }
    if (disks.installer !== undefined && optional.installer !== undefined)
      await rename(disks.installer, optional.installer);
    // Last: a lock is of an image that was made.
    await writeFileAtomic(input.lockFile, encodeLock(lock));
    const [rootSize = 0, veritySize = 0] = sizes.map(({ size }) => size);
    return {
      ...{
        ...results,
        ...optional,
        ...(targets === undefined ? {} : { targetsCommandLine: targets.commandLine }),
        lock: input.lockFile,
        rootHash,
        commandLine: boot.commandLine,
        digest,
      },
      ...{ packages: packages.length, rootBytes: rootSize + veritySize, diskBytes: sizes[2]?.used ?? 0 },
    };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function sizeOf(path: string): Promise<{ size: number; used: number }> {
  await using handle = await open(path);
  const { size, blocks } = await handle.stat();
  return { size, used: blocks * 512 };
}

/** A layout's directory is relative to the description. */
function servicesReference(given: string, baseDirectory: string): string {
  const found = /^oci:(.*):([^:/]*)$/.exec(given);
  if (found === null) {
    throw new MosError("reference-invalid", `cannot read ${given}: write oci:DIR:TAG`, {
      about: basename(given),
    });
  }
  return `oci:${resolve(baseDirectory, found[1] ?? "")}:${found[2]}`;
}
