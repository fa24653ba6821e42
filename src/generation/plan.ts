// From the units that are live to the units that a generation wants: pure, so that it can be shown, tested and
// repeated. A service whose files have not changed is not touched.
import { type Cidr, overlap, parseCidr } from "../manifest/address.ts";
import type { RenderedUnit } from "../services/model.ts";
import {
  isFoundation,
  networkOfFile,
  networkUnit,
  type Places,
  rootUnit,
  scratchMountUnit,
  scratchUnit,
  serviceUnit,
  sliceUnit,
  targetUnit,
  transitionUnit,
} from "../services/unit-names.ts";

/** A unit file of mos on the running system. */
export interface LiveUnit {
  readonly kind: RenderedUnit["kind"];
  readonly name: string;
  readonly content: string;
}

export interface ActivationPlan {
  /** Files that are new or different. */
  readonly write: readonly RenderedUnit[];
  /** Files that the generation does not have. */
  readonly remove: readonly LiveUnit[];
  /** Services that run from a file that changes or goes. */
  readonly affectedServices: readonly string[];
  /** Units to stop before anything is started. */
  readonly stop: readonly string[];
  /** What the old and the new services stand on: up from before the old ones stop until after the new ones start. */
  readonly hold: readonly string[];
  /** Units of `hold` that only the old services needed: to stop at the end. */
  readonly release: readonly string[];
}

function keyOf({ kind, name }: { kind: string; name: string }): string {
  return `${kind}/${name}`;
}

/** The unit that systemd knows for a file; quadlet names them after the file (podman-systemd.unit(5)). */
export function unitOfFile({ kind, name }: { kind: RenderedUnit["kind"]; name: string }): string {
  if (kind === "systemd") return name;
  const network = networkOfFile(name);
  if (network !== undefined) return networkUnit(network);
  return `${name.slice(0, name.lastIndexOf("."))}.service`;
}

/** Subnets that a unit makes a network of (podman-systemd.unit(5), Subnet=; podman-network-create(1)); of others none. */
function subnetsOf({ name, content }: { readonly name: string; readonly content: string }): Cidr[] {
  if (networkOfFile(name) === undefined) return [];
  return [...content.matchAll(/(?:^Subnet=| --subnet )(\S+)/gm)].flatMap(([, text = ""]) => {
    const cidr = parseCidr(text, text.includes(":") ? 6 : 4);
    return cidr === undefined ? [] : [cidr];
  });
}

/** Networks that have to go before the new ones can come: podman gives a subnet to one network at a time. */
function networksInTheWay(
  remove: readonly LiveUnit[],
  desired: readonly RenderedUnit[],
): ReadonlySet<LiveUnit> {
  const coming = desired.flatMap(subnetsOf);
  return new Set(
    remove.filter((unit) => subnetsOf(unit).some((gone) => coming.some((c) => overlap(gone, c)))),
  );
}

/**
 * Compares what is live with what is wanted.
 * @param disturbed services that must go down and up although their files are the same
 */
export function planActivation(
  live: readonly LiveUnit[],
  desired: readonly RenderedUnit[],
  places: Places,
  disturbed: readonly string[] = [],
): ActivationPlan {
  const liveByKey = new Map(live.map((unit) => [keyOf(unit), unit.content]));
  const wanted = new Set(desired.map(keyOf));
  const write = desired.filter((unit) => liveByKey.get(keyOf(unit)) !== unit.content);
  const changed = write.filter((unit) => liveByKey.has(keyOf(unit)));
  const remove = live.filter((unit) => !wanted.has(keyOf(unit)));
  const affectedServices = [
    ...new Set([...changed.flatMap(({ services }) => services), ...disturbed]),
  ].sort();
  const theirs = desired.filter(
    ({ services }) => services.length > 0 && services.every((service) => disturbed.includes(service)),
  );
  const inTheWay = networksInTheWay(remove, desired);
  const holds = (unit: LiveUnit | RenderedUnit): boolean =>
    isFoundation(places, unit.name) && !inTheWay.has(unit);
  // Stopping the target or the slice would stop every service in it.
  const files = [...changed, ...remove.filter((unit) => !holds(unit)), ...theirs]
    .map(unitOfFile)
    .filter((unit) => unit !== targetUnit && unit !== sliceUnit && unit !== transitionUnit);
  // The whole root of an affected service goes down with it: an old mount must not be taken for the new one.
  const roots = affectedServices.flatMap((service) => [
    serviceUnit(service),
    rootUnit(places, service),
    scratchUnit(service),
    scratchMountUnit(places, service),
  ]);
  const stop = [...new Set([...files, ...roots])].sort();
  const namesOf = (units: readonly { readonly kind: RenderedUnit["kind"]; readonly name: string }[]) =>
    [...new Set(units.map(unitOfFile))].sort();
  return {
    ...{ write, remove, affectedServices, stop },
    hold: namesOf([...live, ...desired].filter(holds)),
    release: namesOf(remove.filter(holds)),
  };
}

export function isEmptyPlan({ write, remove, affectedServices }: ActivationPlan): boolean {
  return write.length === 0 && remove.length === 0 && affectedServices.length === 0;
}
