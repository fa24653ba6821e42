// A device's root as two layers: the distribution's part, which is the same for every release that is built of it, and
// above it what the description makes of that. Each layer's bytes depend on what is in it, and on nothing else.
import { link, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type PackedLayer, packLayer } from "../layers/pack.ts";
import { run } from "../system/process.ts";
import { cleanTree } from "./os-tree.ts";
import { treeDiff } from "./tree-diff.ts";
import { readTree, treeArguments } from "./tree-entries.ts";

const timeoutMs = 3600_000;

/** What is of the machine and the day that a distribution's root was made on: each release has its own. */
const madeAnew = ["/etc/hostname", "/etc/shadow", "/etc/shadow-"];

/**
 * Makes the tree of the lower layer.
 * @param tree the distribution's, as it is before anything else is put into it
 * @param to does not exist yet
 * @throws MosError `image-root-unusable`, `program-failed`, `no-space`
 */
export async function makeLowerTree(tree: string, to: string): Promise<void> {
  await run("cp", ["--archive", "--reflink=auto", "--no-target-directory", tree, to], { timeoutMs });
  await cleanTree(to, madeAnew);
}

/** Makes a whiteout of each path: one device with many names. Needs no privilege since Linux 5.8. */
async function makeWhiteouts(tree: string, paths: readonly string[]): Promise<void> {
  const [first, ...others] = paths.map((path) => join(tree, path));
  if (first === undefined) return;
  await run("mknod", ["--mode=0000", first, "c", "0", "0"]);
  for (const other of others) await link(first, other);
}

interface SplitInput {
  /** The distribution's part, and the whole. */
  readonly lower: string;
  readonly whole: string;
  readonly compression: "lz4" | "lz4hc";
  readonly work: string;
}

/**
 * Makes the tree of the upper layer: what the whole has, and the lower tree has not.
 * @param upper does not exist yet
 * @throws MosError `image-root-unusable`, `program-failed`, `program-missing`, `no-space`
 */
export async function makeUpperTree(lower: string, whole: string, upper: string): Promise<void> {
  const { put, whiteouts } = treeDiff(await readTree(lower), await readTree(whole));
  const [list, archive] = [`${upper}.list`, `${upper}.tar`];
  await writeFile(list, put.map((path) => `./${path}\0`).join(""));
  const files = ["--no-recursion", "--null", `--files-from=${list}`];
  await run("tar", ["--create", "--file", archive, ...treeArguments, "--directory", whole, ...files], {
    timeoutMs,
  });
  await mkdir(upper);
  const restore = ["--same-owner", "--preserve-permissions", ...treeArguments.slice(1)];
  await run("tar", ["--extract", "--file", archive, "--directory", upper, ...restore], { timeoutMs });
  await makeWhiteouts(upper, whiteouts);
  for (const path of [list, archive]) await rm(path);
}

/**
 * Packs both layers.
 * @returns the lower and the upper one, in files below `work`
 * @throws MosError as {@link makeUpperTree} and of packing
 */
export async function splitRoot({ lower, whole, compression, work }: SplitInput): Promise<PackedLayer[]> {
  const upper = join(work, "upper");
  await makeUpperTree(lower, whole, upper);
  const layers: PackedLayer[] = [];
  for (const path of [lower, upper])
    layers.push(
      await packLayer({
        ...{ source: { kind: "directory", path }, format: "erofs", compression, workDirectory: work },
      }),
    );
  await rm(upper, { recursive: true });
  return layers;
}
