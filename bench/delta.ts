// What a security update costs to download: Debian's of today in a device's root, by mos and by others on the same two
// roots. Bytes of mos are what a registry says it sent; those of the others are what their stores have more of after
// the update than before, which is what they would fetch.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../src/system/process.ts";
import { type Fetched, updateByDelta } from "../test/integration/delta-update.ts";
import { deltaToolsRoot, updatedRoots } from "../tools/roots.ts";
import type { Subject } from "./subject.ts";

const MB = 1e6;
const timeoutMs = 30 * 60_000;

/** Bytes of all files below a directory, except those that `had` names. */
async function bytesBelow(directory: string, had: ReadonlySet<string> = new Set()): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && !had.has(path)) bytes += (await stat(path)).size;
  }
  return bytes;
}

async function filesBelow(directory: string): Promise<Set<string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return new Set(entries.map((entry) => join(entry.parentPath, entry.name)));
}

/** Runs a program of the tools' root, with directories bound to names below /machine there. */
async function inRoot(root: string, binds: Readonly<Record<string, string>>, argv: readonly string[]) {
  const pairs = Object.entries(binds).flatMap(([name, path]) => [path, join(root, "machine", name)]);
  for (const name of Object.keys(binds)) await mkdir(join(root, "machine", name), { recursive: true });
  const script =
    'n=$1; shift; while [ "$n" -gt 0 ]; do mount --bind "$1" "$2"; [ ! -d "$2/dev" ] || mount -t tmpfs tmpfs "$2/dev"; shift 2; n=$((n-1)); done; mount -t proc proc "$1/proc"; exec chroot "$@"';
  const unshared = ["--mount", "--propagation", "slave", "sh", "-ec", script, "sh"];
  const args = [...unshared, String(pairs.length / 2), ...pairs, root, ...argv];
  return await run("unshare", args, { timeoutMs });
}

/** casync: chunks by content, of a whole image. */
async function casync(root: string, work: string, older: string, newer: string): Promise<number> {
  await mkdir(join(work, "store"), { recursive: true });
  const make = async (path: string, index: string): Promise<void> => {
    const [directory, name] = [join(path, ".."), path.slice(path.lastIndexOf("/") + 1)];
    const argv = [
      "casync",
      "make",
      "--store=/machine/work/store",
      `/machine/work/${index}`,
      `/machine/in/${name}`,
    ];
    await inRoot(root, { work, in: directory }, argv);
  };
  await make(older, "older.caibx");
  const had = await filesBelow(join(work, "store"));
  await make(newer, "newer.caibx");
  return (await bytesBelow(join(work, "store"), had)) + (await stat(join(work, "newer.caibx"))).size;
}

/** OSTree: objects that are new, and a static delta (bsdiff and xz). */
async function ostree(root: string, work: string, before: string, after: string) {
  const repository = join(work, "repo");
  await mkdir(repository, { recursive: true });
  const call = async (...argv: string[]): Promise<string> =>
    (
      await inRoot(root, { work, before, after }, ["ostree", "--repo=/machine/work/repo", ...argv])
    ).stdout.trim();
  await call("init", "--mode=archive");
  const commit = async (name: string): Promise<string> =>
    await call("commit", "--branch=root", `--tree=dir=/machine/${name}`, "--skip-if-unchanged");
  const from = await commit("before");
  const had = await filesBelow(join(repository, "objects"));
  const to = await commit("after");
  const objects = await bytesBelow(join(repository, "objects"), had);
  const start = performance.now();
  await call("static-delta", "generate", `--from=${from}`, `--to=${to}`);
  return {
    objects,
    delta: await bytesBelow(join(repository, "deltas")),
    milliseconds: performance.now() - start,
  };
}

/** RAUC's block-hash-index, as its documentation has it: 32 bytes for each 4096, and the blocks that are missing. */
async function blockIndex(older: string, newer: string): Promise<number> {
  const digests = async (path: string): Promise<string[]> => {
    const bytes = await readFile(path);
    return Array.from({ length: Math.ceil(bytes.length / 4096) }, (_, i) =>
      createHash("sha256")
        .update(bytes.subarray(i * 4096, (i + 1) * 4096))
        .digest("latin1"),
    );
  };
  const had = new Set(await digests(older));
  const wanted = await digests(newer);
  const missing = new Set(wanted.filter((digest) => !had.has(digest)));
  return 32 * wanted.length + 4096 * missing.size;
}

/** @param work a directory with room for some gigabytes */
export async function deltaOfAnUpdate(work: string): Promise<Subject> {
  const { before, after, packages } = await updatedRoots();
  const tools = await deltaToolsRoot();
  const directory = join(work, "delta");
  await mkdir(directory);
  const rows: string[][] = [];
  const row = (name: string, bytes: number, whole: number, note = ""): void => {
    rows.push([name, (bytes / MB).toFixed(2), `${((100 * bytes) / whole).toFixed(2)} %`, note]);
  };
  const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;
  let erofsBytes = 0;
  for (const format of ["erofs", "squashfs"] as const) {
    const at = join(directory, format);
    await mkdir(at);
    const { older, newer, blocks, patch, patchMilliseconds } = await updateByDelta(before, after, format, at);
    const whole = newer.descriptor.size;
    if (format === "erofs") erofsBytes = whole;
    row(`${format}: whole layer`, whole, whole);
    const mine = ({ way, sentBytes, milliseconds }: Fetched, note: string): void =>
      row(`${format}: mos, ${way}`, sentBytes, whole, `${seconds(milliseconds)} to fetch and make${note}`);
    mine(blocks, "");
    if (patch !== undefined) mine(patch, `; ${seconds(patchMilliseconds)} to publish`);
    row(`${format}: index of 4 KiB blocks, as RAUC's`, await blockIndex(older.path, newer.path), whole);
    row(`${format}: casync`, await casync(tools, join(at, "casync"), older.path, newer.path), whole);
  }
  const { objects, delta, milliseconds } = await ostree(tools, join(directory, "ostree"), before, after);
  row("files: OSTree, objects", objects, erofsBytes);
  row("files: OSTree, static delta", delta, erofsBytes, `${seconds(milliseconds)} to publish`);
  await rm(directory, { recursive: true });
  return {
    title: `Security updates of ${packages} packages (percent of the whole layer; of files, of the EROFS layer)`,
    headings: ["way", "MB", "of the layer", ""],
    rows,
  };
}
