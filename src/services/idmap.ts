// Allocation of uid/gid ranges to nsgroups: one range of 65536 per group, allocated once, kept for ever, never
// overlapping. Pure; the allocations are kept in /var/lib/mos/idmaps.json.

/** Container ids 0..65535 map to host ids `first`..`first + 65535`. */
export const rangeLength = 65_536;

/** Where allocation begins: what the published system uses, above every id that Debian gives to users. */
export const lowestId = 100_000;
/** Host ids stay below 2^31: some programs read ids as signed numbers. */
const limit = 2 ** 31;

export interface IdRange {
  readonly first: number;
  readonly length: number;
}

/** nsgroup → first host id of its range. */
export type IdMaps = ReadonlyMap<string, number>;

function intersects(a: IdRange, b: IdRange): boolean {
  return a.first < b.first + b.length && b.first < a.first + a.length;
}

/**
 * Keeps every existing allocation and adds the groups that have none, in order, at the lowest free place.
 * @param reserved ranges that others own on this system (subordinate ids of users)
 * @returns the new map, or `exhausted` with the group that found no room
 */
export function allocateRanges(
  existing: IdMaps,
  groups: readonly string[],
  reserved: readonly IdRange[] = [],
): { readonly maps: IdMaps } | { readonly exhausted: string } {
  const maps = new Map(existing);
  const taken: IdRange[] = [
    ...reserved,
    ...[...existing.values()].map((first) => ({ first, length: rangeLength })),
  ];
  for (const group of groups) {
    if (maps.has(group)) continue;
    const range = lowestFree(taken);
    if (range === undefined) return { exhausted: group };
    maps.set(group, range.first);
    taken.push(range);
  }
  return { maps };
}

function lowestFree(taken: readonly IdRange[]): IdRange | undefined {
  let candidate: IdRange = { first: lowestId, length: rangeLength };
  for (const other of [...taken].sort((a, b) => a.first - b.first)) {
    if (intersects(candidate, other)) {
      candidate = { first: other.first + other.length, length: rangeLength };
    }
  }
  return candidate.first + rangeLength <= limit ? candidate : undefined;
}
