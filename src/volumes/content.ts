// What is in a volume as a tar archive, and back: with the owners that a service sees, whatever range of ids its nsgroup
// has on this device.
import { chmod, chown, lstat, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { mapOwners } from "../archives/tar-owners.ts";
import { systemCode } from "../errors/mos-error.ts";
import { rangeLength } from "../services/idmap.ts";
import { run, runPiped } from "../system/process.ts";

/** Most that an archive may have; a volume itself is at most as large. */
const maxArchive = Number.MAX_SAFE_INTEGER;

/** Beginning of the name of what is not whole yet. */
const unfinished = ".mos-import-";

const syncTimeoutMs = 10 * 60_000;

const attributes = [
  "--numeric-owner",
  "--xattrs",
  "--xattrs-include=user.*",
  "--xattrs-include=security.capability",
];

/**
 * Writes what is in a volume.
 * @param firstId first host id of its nsgroup, undefined for the host's own ids
 * @throws MosError `archive-refused` for a file of an owner outside of the nsgroup, `program-failed`
 */
export async function readContent(
  path: string,
  firstId: number | undefined,
  to: NodeJS.WritableStream,
): Promise<void> {
  const leaveOut = ["--exclude=./lost+found", `--exclude=./${unfinished}*`];
  const plain = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime";
  const form = ["--create", "--format=pax", plain, "--sort=name", "--one-file-system"];
  const tar = await runPiped("tar", [...form, ...attributes, ...leaveOut, "--directory", path, "."]);
  tar.stdin.end();
  const inside = (id: number): number | undefined => {
    if (firstId === undefined) return id;
    return id >= firstId && id < firstId + rangeLength ? id - firstId : undefined;
  };
  try {
    await pipeline(mapOwners(tar.stdout, maxArchive, inside), to, { end: false });
    await tar.ended;
  } catch (error) {
    tar.kill();
    throw error;
  }
}

/**
 * Puts what an archive has into a volume, instead of what is there: only when all of it has been written.
 * @throws MosError `archive-refused`, `program-failed`
 */
export async function writeContent(
  path: string,
  firstId: number | undefined,
  from: AsyncIterable<Uint8Array>,
): Promise<void> {
  for (const name of await readdir(path))
    if (name.startsWith(unfinished)) await rm(join(path, name), { recursive: true });
  const fresh = await mkdtemp(join(path, unfinished));
  try {
    await extract(fresh, firstId, from);
    await syncAll(path);
    await replaceContent(path, fresh);
    await syncAll(path);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

async function extract(
  directory: string,
  firstId: number | undefined,
  from: AsyncIterable<Uint8Array>,
): Promise<void> {
  const keep = ["--extract", "--preserve-permissions", "--same-owner", "--delay-directory-restore"];
  const tar = await runPiped("tar", [...keep, ...attributes, "--directory", directory]);
  const outside = (id: number): number | undefined => {
    if (firstId === undefined) return id;
    return id < rangeLength ? firstId + id : undefined;
  };
  try {
    await pipeline(mapOwners(from, maxArchive, outside), tar.stdin);
    await tar.ended;
  } catch (error) {
    // Why tar does not read on is what tar says.
    if (systemCode(error) === "EPIPE") await tar.ended;
    tar.kill();
    throw error;
  }
}

async function syncAll(path: string): Promise<void> {
  await run("sync", ["--file-system", path], { timeoutMs: syncTimeoutMs });
}

/** What was there goes, what is in `fresh` comes up, and the directory itself becomes as that is. */
async function replaceContent(path: string, fresh: string): Promise<void> {
  const { uid, gid, mode } = await lstat(fresh);
  for (const name of await readdir(path)) {
    if (name === "lost+found" || join(path, name) === fresh) continue;
    await rm(join(path, name), { recursive: true });
  }
  for (const name of await readdir(fresh)) await rename(join(fresh, name), join(path, name));
  await chown(path, uid, gid);
  await chmod(path, mode & 0o7777);
}
