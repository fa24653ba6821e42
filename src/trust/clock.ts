// The clock that certificates and expiry are held against. A device's own clock may stand in 1970 (no battery)
// or be set back; it never counts as earlier than the newest time that mos has seen signed, or was built at.

export interface ClockReading {
  readonly date: Date;
  /** Where the date is from, as an error names it: `the system clock`. */
  readonly source: string;
}

/**
 * The later of the system clock and the floors.
 * @param floors for example the build time of mos and the newest notBefore of accepted certificates; an invalid
 * date counts for nothing
 */
export function trustedNow(systemClock: Date, floors: readonly ClockReading[]): ClockReading {
  let latest: ClockReading = { date: systemClock, source: "the system clock" };
  for (const floor of floors) {
    const isBehind = Number.isNaN(latest.date.getTime()) || latest.date < floor.date;
    if (!Number.isNaN(floor.date.getTime()) && isBehind) latest = floor;
  }
  if (latest.date === systemClock) return latest;
  const shown = Number.isNaN(systemClock.getTime()) ? "nothing" : systemClock.toISOString();
  return { date: latest.date, source: `${latest.source} (the system clock is behind it, at ${shown})` };
}
