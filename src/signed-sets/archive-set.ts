// A signed set as one file, with a signature of its own.
import type { KeyObject } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { fromText } from "../signed-files/byte-path.ts";
import { digestFile } from "../signed-files/read-files.ts";
import { blobOf, makeSignature } from "../signed-files/signature-file.ts";
import { discard, moveFile, writeFileAtomic } from "../system/atomic-file.ts";
import { run } from "../system/process.ts";

/** Packing the largest set that a device takes (milliseconds). */
const packTimeoutMs = 30 * 60_000;

/**
 * Writes a tar archive of a set, packed with gzip, and its signature beside it; same set, same bytes.
 * @throws MosError `program-missing`, `program-failed`, or the system's error
 */
export async function archiveSet(tree: string, archive: string, key: KeyObject): Promise<void> {
  const temporary = join(dirname(archive), `.${basename(archive)}.tmp`);
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=posix"];
  // Without the times that pax would add of each file, and the process's number in the names of its headers.
  const pax = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime";
  try {
    await run("tar", [...same, pax, "--gzip", "-cf", temporary, "-C", tree, "--", "."], {
      timeoutMs: packTimeoutMs,
    });
    const sha512 = digestFile(fromText(temporary), false);
    const blob = blobOf(fromText(basename(archive)), { type: "regular", sha512 });
    await writeFileAtomic(`${archive}.sig`, makeSignature(blob, key));
    await moveFile(temporary, archive);
  } catch (error) {
    await discard(temporary);
    throw error;
  }
}
