// What a benchmark is given and what it gives; and how figures are written in its rows.
import { join } from "node:path";
import { checkout } from "../tools/stamp.ts";
import type { Figure } from "./measure.ts";

export const MiB = 1024 * 1024;
export const node = join(checkout, "node_modules/.bin/node");

export interface Bench {
  /** A directory that goes when all is measured; with a keyset `bench`, which has a project `zot`, in `keys`. */
  readonly work: string;
  /** The executable. */
  readonly mos: string;
  /** children.ts, bundled. */
  readonly children: string;
  /** A root with the peers' programs. */
  readonly tools: string;
}

export interface Subject {
  readonly title: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export const ms = ({ median, min, max }: Figure): string =>
  `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
export const ratio = (a: Figure, b: Figure): string => (a.median / b.median).toFixed(2);

/** A command of the tools root, with the work directory at /machine there. */
export function inTools({ tools, work }: Bench, ...argv: string[]): string[] {
  const script =
    'mount --bind "$1" "$1" && mount --bind "$2" "$1/machine" && mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/tmp" && mount -t tmpfs tmpfs "$1/run" && mount -t sysfs sys "$1/sys" && t=$1 && shift 2 && exec chroot "$t" "$@"';
  return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", tools, work, ...argv];
}
