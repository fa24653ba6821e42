// Which of systemd's units a set brings, and which of them a change is about. Pure.
import type { SetEntry } from "./set-manifest.ts";
import type { Step } from "./steps.ts";

/** What quadlet makes of its files: podman-systemd.unit(5), "Description" and "ServiceName=". */
const quadlets: Readonly<Record<string, (name: string) => string>> = {
  container: (name) => `${name}.service`,
  kube: (name) => `${name}.service`,
  pod: (name) => `${name}-pod.service`,
  volume: (name) => `${name}-volume.service`,
  network: (name) => `${name}-network.service`,
  image: (name) => `${name}-image.service`,
  build: (name) => `${name}-build.service`,
};
/** Quadlets that run; the others are what these need. */
const running = new Set(["container", "kube", "pod"]);
/** Kinds of unit files that are started (systemd.unit(5)). */
const started = new Set(["service", "socket", "timer", "path", "target"]);

const unitName = /^([A-Za-z0-9:_.\\-]{1,200})\.([a-z]+)$/;

interface Named {
  readonly unit: string;
  /** Whether it is started for itself. */
  readonly runs: boolean;
}

/** The unit that a file makes; undefined for other files, templates and drop-ins. */
export function unitOf(path: string): Named | undefined {
  const [, name = "", kind = ""] = unitName.exec(path.slice(path.lastIndexOf("/") + 1)) ?? [];
  const quadlet = Object.hasOwn(quadlets, kind) ? quadlets[kind] : undefined;
  if (quadlet !== undefined) return { unit: quadlet(name), runs: running.has(kind) };
  return started.has(kind) ? { unit: `${name}.${kind}`, runs: true } : undefined;
}

/** The units of a set that run. */
export function unitsOf(entries: readonly SetEntry[]): readonly string[] {
  const files = entries.filter(({ type }) => type !== "directory");
  const units = files.flatMap(({ path }) => {
    const named = unitOf(path);
    return named?.runs === true ? [named.unit] : [];
  });
  return [...new Set(units)].sort();
}

/** Every unit that files of a set make, also those that do not run for themselves. */
export function allUnitsOf(entries: readonly SetEntry[]): readonly string[] {
  return entries.flatMap(({ path, type }) => (type === "directory" ? [] : (unitOf(path)?.unit ?? [])));
}

/** What a change of a set means for its units. */
export interface UnitChange {
  /** Of the set before and not of the one after. */
  readonly gone: readonly string[];
  /** Of both, and to be started anew. */
  readonly changed: readonly string[];
  /** Of the one after alone. */
  readonly added: readonly string[];
}

/**
 * @param steps what is done at the destination
 * @param before what belonged to the set, and what belongs to it now
 */
export function unitChange(
  steps: readonly Step[],
  before: readonly SetEntry[],
  after: readonly SetEntry[],
): UnitChange {
  const [old, next] = [unitsOf(before), unitsOf(after)];
  const touched = steps
    .filter((step) => step.do !== "mkdir" && step.do !== "rmdir")
    .map(({ path }) => unitOf(path));
  // A volume, a drop-in or a file that services read: of whom it is, nobody knows.
  const isForAll = touched.some((named) => named?.runs !== true);
  const own = new Set(touched.map((named) => named?.unit));
  return {
    gone: old.filter((unit) => !next.includes(unit)),
    changed: next.filter((unit) => old.includes(unit) && (isForAll || own.has(unit))),
    added: next.filter((unit) => !old.includes(unit)),
  };
}
