// The window in which a device updates itself, over midnights and changes of the clocks (F09).
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  isInWindow,
  lengthOf,
  minuteOf,
  nextOpening,
  type UpdateWindow,
  weekdays,
} from "../../../src/generation/update-window.ts";

const daily = (from: string, to: string): UpdateWindow => ({ days: [...weekdays], from, to });
const at = (text: string) => new Date(text);

const clock = (minute: number) =>
  `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
const times = fc.integer({ min: 0, max: 1439 }).map(clock);
const windows: fc.Arbitrary<UpdateWindow> = fc.record({
  days: fc.subarray([...weekdays], { minLength: 1 }),
  from: times,
  to: times,
});
const instants = fc.date({
  min: at("1970-01-01T00:00:00Z"),
  max: at("2100-01-01T00:00:00Z"),
  noInvalidDate: true,
});

describe("a window", () => {
  it.each([
    ["02:00", "04:30", "2026-11-21T01:59:59Z", false],
    ["02:00", "04:30", "2026-11-21T02:00:00Z", true],
    ["02:00", "04:30", "2026-11-21T04:29:59Z", true],
    ["02:00", "04:30", "2026-11-21T04:30:00Z", false],
    ["23:00", "01:00", "2026-11-21T23:30:00Z", true],
    ["23:00", "01:00", "2026-11-21T00:30:00Z", true],
    ["23:00", "01:00", "2026-11-21T01:00:00Z", false],
    ["23:00", "01:00", "2026-11-21T22:59:00Z", false],
    ["03:00", "03:00", "2026-11-21T02:59:00Z", true],
  ])("from %s to %s at %s: %s", (from, to, now, open) => {
    expect(isInWindow(daily(from, to), at(now), "UTC")).toBe(open);
  });

  it("over midnight belongs to the day on which it begins", () => {
    const friday: UpdateWindow = { days: ["fri"], from: "22:00", to: "03:00" };
    // 2026-11-20 is a Friday.
    expect(isInWindow(friday, at("2026-11-21T02:00:00Z"), "UTC")).toBe(true);
    expect(isInWindow(friday, at("2026-11-20T02:00:00Z"), "UTC")).toBe(false);
    expect(isInWindow(friday, at("2026-11-21T22:30:00Z"), "UTC")).toBe(false);
  });

  it("of a Sunday goes on on Monday", () => {
    const sunday: UpdateWindow = { days: ["sun"], from: "22:00", to: "03:00" };
    expect(isInWindow(sunday, at("2026-11-23T02:59:00Z"), "UTC")).toBe(true);
  });

  it("is of the clock on the wall", () => {
    // 2026-11-21, 03:30 in Berlin (UTC+1) and 22:30 the day before in New York (UTC-4 has ended, so -5).
    expect(isInWindow(daily("03:00", "04:00"), at("2026-11-21T02:30:00Z"), "Europe/Berlin")).toBe(true);
    expect(isInWindow(daily("03:00", "04:00"), at("2026-11-21T02:30:00Z"), "America/New_York")).toBe(false);
  });
});

describe("where clocks are put forward", () => {
  // Berlin, 2026-03-29: 01:59 CET (00:59Z) is followed by 03:00 CEST (01:00Z).
  it("a window in the hour that is skipped opens the day after", () => {
    const window = daily("02:00", "03:00");
    expect(nextOpening(window, at("2026-03-29T00:30:00Z"), "Europe/Berlin")).toEqual(
      at("2026-03-30T00:00:00Z"),
    );
  });

  it("a window that begins in it opens after it", () => {
    const window = daily("02:30", "05:00");
    expect(nextOpening(window, at("2026-03-29T00:30:00Z"), "Europe/Berlin")).toEqual(
      at("2026-03-29T01:00:00Z"),
    );
  });

  it("one of that weekday alone opens a week later", () => {
    const window: UpdateWindow = { days: ["sun"], from: "02:00", to: "03:00" };
    expect(nextOpening(window, at("2026-03-28T12:00:00Z"), "Europe/Berlin")).toEqual(
      at("2026-04-05T00:00:00Z"),
    );
  });
});

describe("where clocks are put back", () => {
  // Berlin, 2026-10-25: 02:00 to 03:00 happens in CEST (00:00Z) and again in CET (01:00Z).
  it("a window in the hour that is repeated opens twice", () => {
    const window = daily("02:00", "03:00");
    for (const now of ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"])
      expect(isInWindow(window, at(now), "Europe/Berlin")).toBe(true);
    expect(isInWindow(window, at("2026-10-25T02:00:00Z"), "Europe/Berlin")).toBe(false);
  });
});

describe("any window", () => {
  const zones = fc.constantFrom(
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
  );

  it("in UTC is open exactly as many minutes of a week as it says", () => {
    fc.assert(
      fc.property(windows, (window) => {
        const monday = at("2026-11-16T00:00:00Z").getTime();
        let open = 0;
        for (let minute = 0; minute < 7 * 1440; minute += 7)
          if (isInWindow(window, new Date(monday + minute * 60_000), "UTC")) open += 7;
        // A step of 7 minutes is wrong by at most that at each end.
        expect(Math.abs(open - window.days.length * lengthOf(window))).toBeLessThanOrEqual(14 * 7);
      }),
      { numRuns: 8 },
    );
  });

  it("opens next at a time at which it is open, and not a minute before", () => {
    fc.assert(
      fc.property(windows, instants, zones, (window, now, zone) => {
        const next = nextOpening(window, now, zone);
        if (next === undefined) throw new Error("it never opens");
        expect(isInWindow(window, next, zone)).toBe(true);
        expect(next.getTime()).toBeGreaterThanOrEqual(now.getTime());
        if (next.getTime() > now.getTime())
          expect(isInWindow(window, new Date(Math.max(now.getTime(), next.getTime() - 60_000)), zone)).toBe(
            false,
          );
      }),
      { numRuns: 25 },
    );
  });

  it("has a length of a minute to a day", () => {
    fc.assert(
      fc.property(windows, (window) => {
        const length = lengthOf(window);
        expect(length).toBeGreaterThan(0);
        expect((minuteOf(window.from) + length) % 1440).toBe(minuteOf(window.to));
      }),
    );
  });
});
