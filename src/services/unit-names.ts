// Names and places of everything that mos makes on a system, in one table. Every unit name begins with `mos`,
// and each kind has a prefix of its own, so that no service name can collide with a unit of the system, of mos,
// or of another service.
import { escapePath, mountUnitName } from "../systemd/escape.ts";
import type { RenderedUnit } from "./model.ts";

/** Roots of the directory trees; other values are for tests. */
export interface Places {
  /** Persistent state. */
  readonly state: string;
  /** What must not outlive a boot. */
  readonly run: string;
}

export const defaultPlaces: Places = { state: "/var/lib/mos", run: "/run/mos" };

export const targetUnit = "mos.target";
export const sliceUnit = "mos.slice";
/** There only while one generation gives way to another. */
export const transitionUnit = "mos-transition.target";

export function serviceUnit(service: string): string {
  return `mos-svc-${service}.service`;
}

export function containerFile(service: string): string {
  return `mos-svc-${service}.container`;
}

/** What quadlet makes `networkUnit` of. */
export function networkFile(network: string): string {
  return `${network}.network`;
}

/** @param network its name, `mos-` and its subnets (networks.ts) */
export function networkUnit(network: string): string {
  return `${network}-network.service`;
}

/** Name of the network that a file of systemd or of quadlet makes; undefined when it makes none. */
export function networkOfFile(file: string): string | undefined {
  return /^(mos-[0-9a-f.]+-[0-9]+(?:_[0-9a-f.]+-[0-9]+)*)(?:\.network|-network\.service)$/.exec(file)?.[1];
}

export function containerName(service: string): string {
  return `mos-${service}`;
}

/** First 16 hex digits of the root hash: short enough for 100 layers in one overlay, checked for collisions. */
function layerId(rootHash: string): string {
  return rootHash.slice(0, 16);
}

/** Whether services stand on this unit, and it does not change under its name: layers, their mounts, networks. */
export function isFoundation(places: Places, file: string): boolean {
  return (
    file.startsWith("mos-layer-") ||
    file.startsWith(mountUnitName(`${places.run}/layers`).replace(/\.mount$/, "-")) ||
    networkOfFile(file) !== undefined
  );
}

export function layerUnit(rootHash: string): string {
  return `mos-layer-${layerId(rootHash)}.service`;
}

/** Name of the device-mapper device of a layer. */
export function layerDevice(rootHash: string): string {
  return `mos-${layerId(rootHash)}`;
}

/** Where a layer is mounted for one nsgroup (an id-mapped mount belongs to one map). */
export function layerMount(places: Places, rootHash: string, group: string): string {
  return `${places.run}/layers/${layerId(rootHash)}/${group === "" ? "none" : group}`;
}

export function rootMount(places: Places, service: string): string {
  return `${places.run}/roots/${service}`;
}

export function rootUnit(places: Places, service: string): string {
  return mountUnitName(rootMount(places, service));
}

export function scratchMount(places: Places, service: string): string {
  return `${places.run}/scratch/${service}`;
}

export function scratchMountUnit(places: Places, service: string): string {
  return mountUnitName(scratchMount(places, service));
}

export function scratchUnit(service: string): string {
  return `mos-scratch-${service}.service`;
}

export function volumePath(places: Places, label: string, persistent: boolean): string {
  return `${persistent ? places.state : places.run}/volumes/${label}`;
}

/** All secrets of services. */
export function credentialsRoot({ run }: Places): string {
  return `${run}/credentials`;
}

/** The secrets of one service, as they are called by their tag. */
export function credentialsDirectory(places: Places, service: string, tag: string): string {
  return `${credentialsRoot(places)}/${service}/${tag}`;
}

export function volumeUnit(label: string): string {
  return `mos-volume-${label}.service`;
}

/** The file that holds an enforced volume. Labels have no `..`, so no label is called like it. */
export function volumeImage(places: Places, label: string): string {
  return `${places.state}/volumes/${label}..ext4`;
}

/** Where an enforced volume is mounted. */
export function volumeMount(places: Places, label: string): string {
  return `${places.run}/disks/${label}`;
}

/** Makes the file of an enforced volume, and lets it grow. */
export function volumeImageUnit(label: string): string {
  return `mos-disk-${label}.service`;
}

/** The configuration files of one service. */
export function filesDirectory({ run }: Places, service: string): string {
  return `${run}/files/${service}`;
}

/** `tag` says what is in the file: 32 hex digits. */
export function fileUnit(service: string, tag: string): string {
  return `mos-file-${service}-${tag}.service`;
}

/** Begins to count when the one job of a machine begins. */
export function deadlineTimer(service: string): string {
  return `mos-deadline-${service}.timer`;
}

export function deadlineUnit(service: string): string {
  return `mos-deadline-${service}.service`;
}

export const watchdogUnit = "mos-watchdog.service";

/** Whether a file name in systemd's or quadlet's directory is one that mos renders: what a generation does not have is removed. */
export function isOwnFile(kind: RenderedUnit["kind"], name: string, places: Places): boolean {
  if (kind === "quadlet") return /^mos-.+\.(container|network)$/.test(name);
  if (networkOfFile(name) !== undefined) return true;
  if (name.startsWith(`${escapePath(places.run)}-`)) return name.endsWith(".mount");
  return (
    /^mos-(layer|svc|scratch|volume|disk|file|deadline)-.+\.service$/.test(name) ||
    /^mos-deadline-.+\.timer$/.test(name) ||
    [targetUnit, transitionUnit, sliceUnit, watchdogUnit].includes(name)
  );
}
