// What is expensive to make (Debian trees, guest disks) is kept outside the checkout, under a key of everything
// it is made from. An entry is whole or not there; two runs that need the same one make it once.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** MOS_CACHE, else /var/cache/mos-dev for root. Everything in it can be deleted when nothing runs. */
export const cacheDirectory = resolve(
  process.env["MOS_CACHE"] ??
    (process.getuid?.() === 0 ? "/var/cache/mos-dev" : join(homedir(), ".cache/mos-dev")),
);

/** Of each kind, so many entries are kept whatever their age … */
const keptEntries = 2;
/** … and all that were used so recently that a run may still need them. */
const recentMs = 3 * 3600 * 1000;

/** A short key of everything that a cached thing depends on. */
function keyOf(inputs: readonly (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const input of inputs) hash.update(`${input.length}:`).update(input);
  return hash.digest("hex").slice(0, 20);
}

/** Debian's archive moves: what is made from it is made anew every month. */
export function monthStamp(): string {
  return new Date().toISOString().slice(0, 7);
}

/**
 * Returns the path of a cached file or directory, and makes it first when it is not there.
 * @param make creates it at the path it is given, which does not exist yet
 */
export async function cached(
  kind: string,
  inputs: readonly (string | Uint8Array)[],
  make: (path: string) => Promise<void>,
): Promise<string> {
  const path = join(cacheDirectory, `${kind}-${keyOf(inputs)}`);
  await mkdir(cacheDirectory, { recursive: true });
  if (!existsSync(path)) {
    using _lock = await lock(kind);
    if (!existsSync(path)) {
      await removePartial(kind);
      const partial = join(cacheDirectory, `partial-${kind}-${process.pid}`);
      try {
        await make(partial);
        await rename(partial, path);
      } finally {
        await rm(partial, { recursive: true, force: true });
      }
    }
    await prune(kind, path);
  }
  // Beside it, not on it: UML compares the time stamp of a shared disk with what it was when a copy began.
  await writeFile(usedMark(path), "");
  return path;
}

/** Held by the program flock(1), which lets go when we end, however that happens. */
async function lock(kind: string): Promise<Disposable> {
  const path = join(cacheDirectory, `${kind}.lock`);
  const holder: ChildProcess = spawn("flock", ["--exclusive", path, "sh", "-c", "echo locked; exec cat"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const answer =
    holder.stdout === null
      ? undefined
      : await Promise.race([once(holder.stdout, "data"), once(holder, "close")]);
  if (!String(answer?.[0]).startsWith("locked")) throw new Error(`cannot lock ${path}`);
  return { [Symbol.dispose]: () => holder.stdin?.end() };
}

async function removePartial(kind: string): Promise<void> {
  for (const name of await readdir(cacheDirectory)) {
    if (name.startsWith(`partial-${kind}-`))
      await rm(join(cacheDirectory, name), { recursive: true, force: true });
  }
}

const usedSuffix = ".used";

/** The file whose time says when an entry was last asked for. */
function usedMark(path: string): string {
  return path + usedSuffix;
}

async function prune(kind: string, inUse: string): Promise<void> {
  const entries = [];
  for (const name of await readdir(cacheDirectory)) {
    const path = join(cacheDirectory, name);
    if (!name.startsWith(`${kind}-`) || name.endsWith(usedSuffix) || path === inUse) continue;
    const used = existsSync(usedMark(path)) ? (await stat(usedMark(path))).mtimeMs : 0;
    entries.push({ path, used });
  }
  entries.sort((a, b) => b.used - a.used);
  for (const { path, used } of entries.slice(keptEntries - 1)) {
    if (Date.now() - used <= recentMs) continue;
    await rm(path, { recursive: true, force: true });
    await rm(usedMark(path), { force: true });
  }
}
