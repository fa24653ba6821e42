// The EFI system partition: FAT32 (UEFI 2.10, section 13.3), made by mkfs.vfat and mtools without being mounted.
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { run } from "../system/process.ts";

export interface EspFile {
  /** In the partition, such as `EFI/BOOT/BOOTX64.EFI`. */
  readonly path: string;
  /** On this machine. */
  readonly source: string;
}

const timeoutMs = 600_000;

/** Directories of these files, each after the one that it is in. */
function directoriesOf(files: readonly EspFile[]): string[] {
  const all = files.flatMap(({ path }) => {
    const found: string[] = [];
    for (let at = dirname(path); at !== "."; at = dirname(at)) found.unshift(at);
    return found;
  });
  return [...new Set(all)].sort();
}

interface EspOptions {
  /** Bytes. */
  readonly size: number;
  readonly label: string;
  /** Seconds; of every file in it. */
  readonly epoch: number;
  /** What is the same each time. */
  readonly seed: string;
}

/**
 * Makes the partition in a file of its own.
 * @throws MosError `program-missing`, `program-failed`, `no-space`
 */
export async function makeEsp(
  to: string,
  files: readonly EspFile[],
  { size, label, epoch, seed }: EspOptions,
): Promise<void> {
  await using handle = await open(to, "w");
  await handle.truncate(size);
  const serial = createHash("sha256").update(`mos esp ${label} ${seed}`).digest("hex").slice(0, 8);
  const env = { SOURCE_DATE_EPOCH: String(epoch), TZ: "UTC", MTOOLS_SKIP_CHECK: "1" };
  await run("mkfs.vfat", ["--invariant", "-F", "32", "-n", label, "-i", serial, to], {
    env: { ...env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
  for (const directory of directoriesOf(files)) await run("mmd", ["-i", to, `::/${directory}`], { env });
  for (const { path, source } of files)
    await run("mcopy", ["-i", to, source, `::/${path}`], { env, timeoutMs });
}
