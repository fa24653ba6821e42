// Packs a directory or a tar file into one layer file: filesystem, padding, verity tree. The same content gives
// the same bytes on any day and in any place: no times (but of a layer that somebody else has built, whose times are part
// of its content), a fixed filesystem UUID, salt and verity UUID derived
// from the content. (Two things the tools decide: extended attributes keep the order in which the source's
// filesystem lists them, and squashfs from a directory stores hard links as files of their own.)
import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, open, rm, stat, truncate, utimes } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { type Digest, digestFromHex, hexOf } from "../oci/digest.ts";
import type { Descriptor } from "../oci/model.ts";
import { type RunResult, run } from "../system/process.ts";
import { inspectLayer } from "./inspect.ts";
import { packedMediaTypes, rootHashAnnotationsOf } from "./media-type.ts";
import { parseSuperblock, superblockBytes } from "./superblock.ts";

export const layerFormats = ["squashfs", "erofs"] as const;

export type LayerFormat = (typeof layerFormats)[number];

interface LayerSource {
  readonly kind: "directory" | "tar";
  readonly path: string;
  /** Of a tar archive that keeps its times: the last of them, seconds since 1970. */
  readonly newest?: number;
}

/** What to pack, as what, and where there is room for it. */
export interface PackOptions {
  readonly source: LayerSource;
  readonly format: LayerFormat;
  /** Of EROFS; default lz4hc. */
  readonly compression?: "lz4" | "lz4hc";
  /** The layer file is left in here; the caller removes it. */
  readonly workDirectory: string;
}

export interface PackedLayer {
  readonly path: string;
  readonly descriptor: Descriptor;
  /** 64 lower-case hex digits. */
  readonly rootHash: string;
}

/** Compressing some gigabytes on a slow machine. */
const packTimeoutMs = 60 * 60_000;

/** The nil UUID: blkid takes it for none, so that layers do not compete for a name under /dev/disk. */
const filesystemUuid = "00000000-0000-0000-0000-000000000000";

/**
 * Packs a layer.
 * @throws MosError `source-invalid`, `permission-denied`, `no-space`, `program-missing`, `program-failed`
 */
export async function packLayer({
  source,
  format,
  compression = "lz4hc",
  workDirectory,
}: PackOptions): Promise<PackedLayer> {
  const directory = await mkdtemp(join(resolve(workDirectory), "layer-"));
  try {
    const path = join(directory, `layer.${format}`);
    await makeFilesystem({ ...source, path: resolve(source.path) }, { format, compression }, path, directory);
    const rootHash = await appendVerityTree(path);
    const descriptor: Descriptor = {
      mediaType: packedMediaTypes[format],
      digest: await digestOfFile(path),
      size: (await stat(path)).size,
      annotations: rootHashAnnotationsOf(rootHash),
    };
    // As a device will look at it.
    await inspectLayer(path, descriptor);
    return { path, descriptor, rootHash };
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw asMosError(error, source.path);
  }
}

/** Runs one of the packing programs, which administrators' directories may have, without a time of its own. */
async function runTool(
  program: string,
  args: readonly string[],
  stdinFile?: string,
  epoch = 0,
): Promise<RunResult> {
  return await run(program, args, {
    timeoutMs: packTimeoutMs,
    env: {
      SOURCE_DATE_EPOCH: String(epoch),
      PATH: `${process.env["PATH"] ?? "/usr/bin:/bin"}:/usr/sbin:/sbin`,
    },
    ...(stdinFile === undefined ? {} : { stdinFile }),
  });
}

async function makeFilesystem(
  source: LayerSource,
  { format, compression }: Required<Pick<PackOptions, "format" | "compression">>,
  to: string,
  directory: string,
): Promise<void> {
  const { path, kind, newest } = source;
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !(kind === "tar" ? found.isFile() : found.isDirectory())) {
    throw new MosError("source-invalid", `cannot pack ${path}: it is not a ${kind}`, { about: path });
  }
  if (format === "squashfs") {
    await (kind === "tar" ? squashfsFromTar(path, to, newest) : squashfsFromDirectory(path, to));
  } else if (kind === "directory") {
    await erofsFromDirectory(path, to, compression);
  } else {
    const tree = join(directory, "tree");
    await unpack(path, tree);
    // Of the root, which the archive does not have.
    if (newest !== undefined) await utimes(tree, 0, 0);
    await erofsFromDirectory(tree, to, compression, newest);
    await rm(tree, { recursive: true });
  }
}

function squashfsArguments(defaults: string): string[] {
  const jobs = String(availableParallelism());
  return ["--quiet", "--compressor", "zstd", "--num-jobs", jobs, "--defaults", defaults];
}

async function squashfsFromDirectory(path: string, to: string): Promise<void> {
  // gensquashfs takes owner and mode of everything from the directory except of the root itself.
  const { uid, gid, mode } = await stat(path);
  const defaults = `uid=${uid},gid=${gid},mode=0${(mode & 0o7777).toString(8)},mtime=0`;
  await runTool("gensquashfs", [...squashfsArguments(defaults), "--keep-xattr", "--pack-dir", path, to]);
}

async function squashfsFromTar(path: string, to: string, newest?: number): Promise<void> {
  const defaults = "uid=0,gid=0,mode=0755,mtime=0";
  const times = newest === undefined ? ["--no-keep-time"] : [];
  await runTool("tar2sqfs", [...squashfsArguments(defaults), "--no-skip", ...times, to], path);
}

async function erofsFromDirectory(
  path: string,
  to: string,
  compression: string,
  newest?: number,
): Promise<void> {
  // Small files in blocks of their own, not beside their inodes: then a change of one of them does not move the
  // others, and a device that updates has their blocks already. Clusters of 64 KiB compress better than of 4.
  const form = [`-z${compression}`, "-C65536", "-Enoinline_data"];
  // $SOURCE_DATE_EPOCH is the time of the file system, and no file has a later one (mkfs.erofs(1)).
  const times = newest === undefined ? ["-T0"] : [];
  const args = ["--quiet", ...form, ...times, `-U${filesystemUuid}`, to, path];
  await runTool("mkfs.erofs", args, undefined, newest ?? 0);
}

async function unpack(path: string, tree: string): Promise<void> {
  if (process.geteuid?.() !== 0) {
    throw new MosError("permission-denied", `cannot unpack ${path} with its owners: that needs root`, {
      about: path,
      hint: "Run it as root or under fakeroot, or pack the archive as squashfs, which needs no unpacking.",
    });
  }
  await mkdir(tree);
  // What an archive without an entry for its root gets, whatever the umask.
  await chmod(tree, 0o755);
  const keep = [
    "--numeric-owner",
    "--same-owner",
    "--preserve-permissions",
    "--xattrs",
    "--xattrs-include=*",
  ];
  await runTool("tar", ["--extract", "--file", path, "--directory", tree, ...keep]);
}

/** Appends the tree as the published format has it, and returns its root hash. */
async function appendVerityTree(path: string): Promise<string> {
  const { size } = await stat(path);
  const { hashOffset } = parseSuperblock(await readHead(path), size, path);
  await truncate(path, hashOffset);
  const content = hexOf(await digestOfFile(path));
  const salt = derive("salt", content);
  // 32 bytes of salt, as many as the published format has.
  const { stdout } = await runTool("veritysetup", [
    "format",
    "--format=1",
    "--hash=sha256",
    "--data-block-size=4096",
    "--hash-block-size=4096",
    `--data-blocks=${hashOffset / 4096}`,
    `--salt=${salt}`,
    `--uuid=${uuidOf(derive("uuid", content))}`,
    `--hash-offset=${hashOffset}`,
    path,
    path,
  ]);
  const rootHash = /^Root hash:\s+([0-9a-f]{64})$/m.exec(stdout)?.[1];
  if (rootHash === undefined) {
    throw new MosError("program-failed", "veritysetup did not print a root hash", { about: path });
  }
  return rootHash;
}

/** Hex of a hash of the content for one purpose. */
function derive(purpose: "salt" | "uuid", content: string): string {
  return createHash("sha256").update(`mos layer ${purpose} ${content}`).digest("hex");
}

/** A UUID of version 8, "custom" (RFC 9562, section 5.8), from the first hex digits. */
function uuidOf(hex: string): string {
  const digits = (from: number, to: number) => hex.slice(from, to);
  return `${digits(0, 8)}-${digits(8, 12)}-8${digits(13, 16)}-8${digits(17, 20)}-${digits(20, 32)}`;
}

async function readHead(path: string): Promise<Uint8Array> {
  const handle = await open(path);
  try {
    const { buffer, bytesRead } = await handle.read(new Uint8Array(superblockBytes), 0, superblockBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function digestOfFile(path: string): Promise<Digest> {
  const hash = createHash("sha256");
  const handle = await open(path);
  try {
    for await (const piece of handle.createReadStream({ highWaterMark: 1024 * 1024 })) hash.update(piece);
  } finally {
    await handle.close();
  }
  return digestFromHex(hash.digest("hex"));
}
