// The disks of an image: the system's own, and an installer's medium that has the same root and what the new
// system's EFI system partition will be.
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../system/process.ts";
import type { BootPrograms } from "./boot-files.ts";
import type { ImageDescription } from "./description-schema.ts";
import { type DiskPartition, makeDisk } from "./disk.ts";
import { encryptionMark, installerPartitions, partitions, rootPartitionUuids } from "./disk-layout.ts";
import { makeEsp } from "./esp.ts";
import { uuidFrom } from "./stable-uuid.ts";

interface DisksInput {
  readonly description: ImageDescription;
  readonly boot: BootPrograms;
  readonly rootHash: string;
  /** Files of root and hash tree. */
  readonly root: string;
  readonly verity: string;
  /** Seconds. */
  readonly epoch: number;
  /** What is the same each time. */
  readonly seed: string;
  readonly work: string;
}

const mebibyte = 1024 * 1024;
/** FAT32 has at least 65525 clusters (of one sector; Microsoft's specification of 2000, "FAT Type Determination"). */
const smallestEsp = 36 * mebibyte;

/** An empty file system that is the same each time; or the mark of what the device is to make there. */
async function makeState(
  to: string,
  { state: size, encrypt }: ImageDescription["disk"],
  epoch: number,
  seed: string,
): Promise<void> {
  await using handle = await open(to, "w");
  await handle.truncate(size * mebibyte);
  if (encrypt !== undefined) {
    await handle.write(`${encryptionMark}\n`, 0);
    return;
  }
  const uuid = uuidFrom(seed, "state");
  // Blocks that suit the size to which it may grow.
  const form = [
    "-b",
    "4096",
    "-U",
    uuid,
    "-E",
    `hash_seed=${uuid},root_owner=0:0,nodiscard`,
    "-L",
    partitions.state.label,
  ];
  // Before 1.47.1 e2fsprogs has a name of its own for it.
  const time = { SOURCE_DATE_EPOCH: String(epoch), E2FSPROGS_FAKE_TIME: String(epoch) };
  await run("mke2fs", ["-q", "-t", "ext4", ...form, to], {
    env: { ...time, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
}

/** @param seed of its uuid; undefined for one that is made anew, and encrypted, at each start */
async function makeSwap(to: string, size: number, seed: string | undefined): Promise<void> {
  await using handle = await open(to, "w");
  await handle.truncate(size * mebibyte);
  if (seed === undefined) return;
  await run("mkswap", ["--uuid", uuidFrom(seed, "swap"), "--label", partitions.swap.label, to], {
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
}

/** The system's disk, and the installer's if there is to be one. */
export async function makeDisks(
  input: DisksInput,
): Promise<{ readonly raw: string; readonly installer: string | undefined }> {
  const { description, boot, rootHash, root, verity, epoch, seed, work } = input;
  const path = (part: string): string => join(work, part);
  const uuids = rootPartitionUuids(rootHash);
  const roots: readonly DiskPartition[] = [
    { ...partitions.root, uuid: uuids.root, source: root },
    { ...partitions.rootVerity, uuid: uuids.verity, source: verity },
  ];
  const { esp, swap, encrypt } = description.disk;
  await makeEsp(path("esp"), boot.esp, {
    ...{ size: esp * mebibyte, epoch, seed },
    label: partitions.esp.label,
  });
  await makeState(path("state"), description.disk, epoch, seed);
  const parts: DiskPartition[] = [
    { ...partitions.esp, uuid: uuidFrom(seed, "esp"), source: path("esp") },
    ...roots,
  ];
  if (swap !== undefined) {
    await makeSwap(path("swap"), swap, encrypt === undefined ? seed : undefined);
    const kind = encrypt === undefined ? partitions.swap : partitions.encryptedSwap;
    parts.push({ ...kind, uuid: uuidFrom(seed, "swap-partition"), source: path("swap") });
  }
  // Last, so that it can grow.
  parts.push({ ...partitions.state, uuid: uuidFrom(seed, "state-partition"), source: path("state") });
  const raw = path("raw");
  await makeDisk(raw, uuidFrom(seed, "disk"), parts);
  if (boot.installerEsp === undefined) return { raw, installer: undefined };
  const sizes = await Promise.all(boot.installerEsp.map(async ({ source }) => (await stat(source)).size));
  const needed = sizes.reduce((sum, size) => sum + size, 8 * mebibyte);
  const size = Math.max(smallestEsp, Math.ceil(needed / mebibyte) * mebibyte);
  await makeEsp(path("installer-esp"), boot.installerEsp, {
    ...{ size, epoch, seed },
    label: installerPartitions.esp.label,
  });
  const installer = path("installer");
  const medium: DiskPartition[] = [
    { ...installerPartitions.esp, uuid: uuidFrom(seed, "installer-esp"), source: path("installer-esp") },
    ...roots,
    { ...installerPartitions.payload, uuid: uuidFrom(seed, "payload"), source: path("esp") },
  ];
  await makeDisk(installer, uuidFrom(seed, "installer"), medium, { epoch });
  return { raw, installer };
}
