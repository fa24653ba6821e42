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
import type { ImageDescription } from "./description-schema.ts";
import { type DiskPartition, makeDisk } from "./disk.ts";
import { partitions, rootPartitionUuids } from "./disk-layout.ts";
import { makeEsp } from "./esp.ts";
import { copyRelease } from "./factory.ts";
import { fileDigest } from "./file-digest.ts";
import { makeHostfs } from "./hostfs.ts";
import { installedPackages } from "./installed-packages.ts";
import { checkLock, encodeLock, type ImageLock, parseLock } from "./lock.ts";
import { makeTree } from "./os-source.ts";
import { finishTree } from "./os-tree.ts";
import { sbom } from "./sbom.ts";
import { uuidFrom } from "./stable-uuid.ts";

interface BuildInput {
  readonly description: ImageDescription;
  /** What relative paths in it are relative to. */
  readonly baseDirectory: string;
  readonly lockFile: string;
  readonly updateLock: boolean;
  /** Directory of all keysets. */
  readonly keysets: string;
  readonly outputDirectory: string;
  /** Files that are there already may be replaced. */
  readonly replace: boolean;
  /** Seconds; undefined takes that of the lock, or now for the first one. */
  readonly epoch: number | undefined;
  readonly onStep: (what: string) => void;
}

export interface BuiltImage {
  readonly raw: string;
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

const mebibyte = 1024 * 1024;

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

/** An empty file system that is the same each time. */
async function makeState(to: string, size: number, epoch: number, seed: string): Promise<void> {
  await using handle = await open(to, "w");
  await handle.truncate(size * mebibyte);
  const uuid = uuidFrom(seed, "state");
  const form = ["-U", uuid, "-E", `hash_seed=${uuid},root_owner=0:0,nodiscard`, "-L", partitions.state.label];
  // Before 1.47.1 e2fsprogs has a name of its own for it.
  const time = { SOURCE_DATE_EPOCH: String(epoch), E2FSPROGS_FAKE_TIME: String(epoch) };
  await run("mke2fs", ["-q", "-t", "ext4", ...form, to], {
    env: { ...time, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
}

async function makeSwap(to: string, size: number, seed: string): Promise<void> {
  await using handle = await open(to, "w");
  await handle.truncate(size * mebibyte);
  await run("mkswap", ["--uuid", uuidFrom(seed, "swap"), "--label", partitions.swap.label, to], {
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
}

function checkOutput(paths: readonly string[], replace: boolean): void {
  const there = paths.find((path) => existsSync(path));
  if (there === undefined || replace) return;
  throw new MosError("output-exists", `cannot write ${there}: it is there already`, {
    about: there,
    hint: "--replace writes over it.",
  });
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
  checkOutput(Object.values(results), input.replace);
  const keyset = await keysetPath(input.keysets, description.boot.keyset);
  const locked = input.updateLock ? undefined : await readLock(input.lockFile);
  const epoch = input.epoch ?? locked?.epoch ?? Math.floor(Date.now() / 1000);
  await mkdir(input.outputDirectory, { recursive: true });
  const work = await mkdtemp(join(resolve(input.outputDirectory), ".image-"));
  try {
    const path = (part: string): string => join(work, part);
    onStep("making the root");
    const root = await makeTree(description.root, path("tree"), work, baseDirectory);
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
    onStep("making the initrd");
    const tree = path("tree");
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
    onStep("putting the disk together");
    await makeEsp(path("esp"), description.disk.esp * mebibyte, boot.esp, epoch, seed);
    await makeState(path("state"), description.disk.state, epoch, seed);
    const uuids = rootPartitionUuids(rootHash);
    const parts: DiskPartition[] = [
      { ...partitions.esp, uuid: uuidFrom(seed, "esp"), source: path("esp") },
      { ...partitions.root, uuid: uuids.root, source: rootFile },
      { ...partitions.rootVerity, uuid: uuids.verity, source: verityFile },
      { ...partitions.state, uuid: uuidFrom(seed, "state-partition"), source: path("state") },
    ];
    if (description.disk.swap !== undefined) {
      await makeSwap(path("swap"), description.disk.swap, seed);
      parts.push({ ...partitions.swap, uuid: uuidFrom(seed, "swap-partition"), source: path("swap") });
    }
    await makeDisk(path("raw"), uuidFrom(seed, "disk"), parts);
    onStep("finishing");
    const osRelease = await readFile(files.osRelease, "utf8");
    const distribution = /^ID="?([^"\n]*)"?$/m.exec(osRelease)?.[1] ?? "linux";
    const document = sbom({ name, release, rootHash, epoch, distribution, packages, services });
    const digest = await fileDigest(path("raw"));
    const sizes = await Promise.all([rootFile, verityFile, path("raw")].map(sizeOf));
    await writeFileAtomic(results.sbom, document);
    await rename(boot.uki, results.uki);
    await rename(path("raw"), results.raw);
    // Last: a lock is of an image that was made.
    await writeFileAtomic(input.lockFile, encodeLock(lock));
    const [rootSize = 0, veritySize = 0] = sizes.map(({ size }) => size);
    return {
      ...{ ...results, lock: input.lockFile, rootHash, commandLine: boot.commandLine, digest },
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
