// Field lessons §1 no. 12: a clock that stands in 1970 must not stop a device, and errors say whose clock it was.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { trustedNow } from "../../../src/trust/clock.ts";

const built = { date: new Date("2026-01-01T00:00:00Z"), source: "the build time of mos" };
const signed = { date: new Date("2026-06-01T00:00:00Z"), source: "the newest certificate accepted" };

describe("the clock", () => {
  test("is the system's when that is ahead of every floor", () => {
    const now = new Date("2027-01-01T00:00:00Z");
    expect(trustedNow(now, [built, signed])).toEqual({ date: now, source: "the system clock" });
  });

  test("is the newest floor when the system's stands in 1970, and says so", () => {
    const reading = trustedNow(new Date(0), [signed, built]);
    expect(reading.date).toEqual(signed.date);
    expect(reading.source).toBe(
      "the newest certificate accepted (the system clock is behind it, at 1970-01-01T00:00:00.000Z)",
    );
  });

  test("takes a broken system clock for behind everything", () => {
    expect(trustedNow(new Date(Number.NaN), [built]).date).toEqual(built.date);
  });

  test("is never behind any of its inputs", () => {
    const time = fc.date({ noInvalidDate: false });
    fc.assert(
      fc.property(time, fc.array(time), (system, floors) => {
        const { date } = trustedNow(
          system,
          floors.map((floor) => ({ date: floor, source: "floor" })),
        );
        const valid = [system, ...floors].filter((input) => !Number.isNaN(input.getTime()));
        for (const input of valid) expect(date >= input).toBe(true);
      }),
    );
  });
});
