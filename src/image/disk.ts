// A disk with a GUID partition table (UEFI 2.10, section 5.3) of partitions whose content is in files. sfdisk writes
// the table; content is copied to its place, and what is zero stays a hole in the file.
import { open, stat } from "node:fs/promises";
import { MosError } from "../errors/mos-error.ts";
import { run } from "../system/process.ts";
import { opticalDisc } from "./optical-disc.ts";

export interface DiskPartition {
  readonly type: string;
  readonly name: string;
  readonly uuid: string;
  /** What is in it. */
  readonly source: string;
}

const mebibyte = 1024 * 1024;
const timeoutMs = 3600_000;

interface Placed extends DiskPartition {
  /** MiB. */
  readonly start: number;
  readonly size: number;
}

/** One after the other, at whole MiB, after the first, which the table is in. */
async function place(partitions: readonly DiskPartition[]): Promise<Placed[]> {
  const placed: Placed[] = [];
  let start = 1;
  for (const one of partitions) {
    const size = Math.max(1, Math.ceil((await stat(one.source)).size / mebibyte));
    placed.push({ ...one, start, size });
    start += size;
  }
  return placed;
}

/**
 * Makes the disk.
 * @param uuid of the disk
 * @param disc when it is to be an optical disc as well, which starts from the first partition: the time in it, seconds
 * @throws MosError `program-missing`, `program-failed`, `no-space`
 */
export async function makeDisk(
  to: string,
  uuid: string,
  partitions: readonly DiskPartition[],
  disc?: { readonly epoch: number },
): Promise<void> {
  const placed = await place(partitions);
  const last = placed.at(-1);
  if (last === undefined) throw new MosError("internal", "a disk without partitions");
  {
    await using handle = await open(to, "wx");
    // The second copy of the table is at the end.
    await handle.truncate((last.start + last.size + 1) * mebibyte);
  }
  const rows = placed.map(
    ({ start, size, type, uuid: id, name }) =>
      `start=${start}MiB, size=${size}MiB, type=${type}, uuid=${id}, name=${name}`,
  );
  const script = ["label: gpt", `label-id: ${uuid}`, ...rows].join("\n");
  await run("sfdisk", ["--quiet", "--no-reread", to], {
    stdin: `${script}\n`,
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
  if (disc !== undefined) {
    const [boot] = placed;
    const size = (last.start + last.size + 1) * mebibyte;
    const { offset, content } = opticalDisc(size, (boot?.start ?? 0) * mebibyte, disc.epoch);
    await using handle = await open(to, "r+");
    await handle.write(content, 0, content.length, offset);
  }
  for (const { source, start } of placed) {
    const how = ["bs=1M", `seek=${start}`, "conv=notrunc,sparse", "status=none"];
    await run("dd", [`if=${source}`, `of=${to}`, ...how], { timeoutMs });
  }
}
