// What a layer above another has to have, so that an overlay of both is a given tree (kernel,
// Documentation/filesystems/overlayfs.rst). Directories of both are merged, so a directory that is another one altogether
// is told by whiteouts of what is gone: an opaque one would say the same, by an attribute that only the machine's own
// root may set. Pure.
import type { TreeEntries } from "./tree-entries.ts";

export interface TreeDiff {
  /** Paths of the tree that the layer has, sorted, each directory before what is in it. */
  readonly put: readonly string[];
  /** Paths of the layer below that are not in the tree: character devices 0/0. Sorted. */
  readonly whiteouts: readonly string[];
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

/** In the order of their names, so that a directory comes before what is in it. */
function sorted(paths: Iterable<string>): string[] {
  const names = [...paths].map((path) => path.split("/"));
  const order = (a: readonly string[], b: readonly string[]): number => {
    const at = a.findIndex((name, i) => name !== b[i]);
    if (at === -1) return a.length - b.length;
    const [one, other] = [a[at] ?? "", b[at]];
    return other === undefined || one > other ? 1 : -1;
  };
  return names.sort(order).map((name) => name.join("/"));
}

/** What makes `whole` of `lower`. Both have their root, and with each path the directory that it is in. */
export function treeDiff(lower: TreeEntries, whole: TreeEntries): TreeDiff {
  const put = new Set<string>([""]);
  const whiteouts: string[] = [];
  /** A layer cannot have a path without the directories that lead there. */
  const leadTo = (path: string): void => {
    for (let at = path; at !== ""; at = parentOf(at)) put.add(parentOf(at));
  };
  for (const [path, { identity }] of whole) {
    if (lower.get(path)?.identity === identity) continue;
    put.add(path);
    leadTo(path);
  }
  for (const path of lower.keys()) {
    // What was in a directory that is gone, or is something else, is gone with it.
    if (whole.has(path) || whole.get(parentOf(path))?.isDirectory !== true) continue;
    whiteouts.push(path);
    leadTo(path);
  }
  return { put: sorted(put), whiteouts: sorted(whiteouts) };
}
