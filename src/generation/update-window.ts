// When a device may update itself: pure. A window is a span of wall-clock time on some days. Where clocks are put forward
// a span that is skipped does not happen that day; where they are put back one that is repeated happens twice.

export const weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
type Weekday = (typeof weekdays)[number];

export interface UpdateWindow {
  /** Days on which it begins. */
  readonly days: readonly Weekday[];
  /** `HH:MM`. */
  readonly from: string;
  /** `HH:MM`; not after `from`: on the next day. The same as `from`: a whole day. */
  readonly to: string;
}

const dayNames: readonly string[] = weekdays;
const minutesOfDay = 24 * 60;
const minuteMs = 60_000;
/** Longer than a week, because the only span of a week may fall into the hour that clocks skip. */
const horizonDays = 15;

interface WallClock {
  /** 0 is Monday. */
  readonly day: number;
  /** Since midnight by the clock on the wall. */
  readonly minute: number;
}

/** Reads instants as the wall clock of a time zone. @throws RangeError for a zone that there is not */
function wallClock(zone: string | undefined): (instant: number) => WallClock {
  const format = new Intl.DateTimeFormat("en-GB", {
    ...{ weekday: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
    ...(zone === undefined ? {} : { timeZone: zone }),
  });
  return (instant) => {
    const parts = new Map(format.formatToParts(instant).map(({ type, value }) => [type, value]));
    const day = dayNames.indexOf(parts.get("weekday")?.toLowerCase() ?? "");
    return { day, minute: Number(parts.get("hour")) * 60 + Number(parts.get("minute")) };
  };
}

/** Minutes since midnight of `HH:MM`. */
export function minuteOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}

/** Minutes from the beginning of a window to its end. */
export function lengthOf({ from, to }: Pick<UpdateWindow, "from" | "to">): number {
  return ((minuteOf(to) - minuteOf(from) + minutesOfDay - 1) % minutesOfDay) + 1;
}

function isOpen(window: UpdateWindow, { day, minute }: WallClock): boolean {
  const begins = minuteOf(window.from);
  const has = (index: number) => window.days.some((name) => weekdays.indexOf(name) === (index + 7) % 7);
  const since = minute - begins;
  if (since >= 0) return has(day) && since < lengthOf(window);
  // Before today's beginning: what is open began yesterday.
  return has(day - 1) && since + minutesOfDay < lengthOf(window);
}

/**
 * Whether a window is open.
 * @param zone IANA name; the device's own when undefined
 */
export function isInWindow(window: UpdateWindow, now: Date, zone: string | undefined): boolean {
  return isOpen(window, wallClock(zone)(now.getTime()));
}

/** When a window opens next, to the minute; `now` when it is open, undefined when it does not within 15 days. */
export function nextOpening(window: UpdateWindow, now: Date, zone: string | undefined): Date | undefined {
  const read = wallClock(zone);
  if (isOpen(window, read(now.getTime()))) return now;
  const first = Math.floor(now.getTime() / minuteMs) + 1;
  for (let minute = first; minute < first + horizonDays * minutesOfDay; minute++) {
    if (isOpen(window, read(minute * minuteMs))) return new Date(minute * minuteMs);
  }
  return undefined;
}
