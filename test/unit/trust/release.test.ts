// Attacks A02 (rollback), A04 (freeze) and A05 (fast-forward): which release may follow which.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkEpoch,
  checkExpiry,
  checkSuccession,
  maxEpochStep,
  type ReleaseNumber,
  unnumbered,
} from "../../../src/trust/release.ts";
import { codeOf } from "./authority.ts";

const number = (epoch: number, serial: number): ReleaseNumber => ({ epoch, serial });
const floorAt = (epoch: number) => ({ epoch, source: "the TPM" });

interface Case {
  readonly next: ReleaseNumber;
  readonly running?: ReleaseNumber;
  readonly floor?: number;
  readonly allowOlder?: boolean;
  readonly isSame?: boolean;
}

const codeFor = ({ next, running, floor = 0, allowOlder = false, isSame = false }: Case): string =>
  codeOf(() => checkSuccession({ next, isSame, running, floor: floorAt(floor), allowOlder }));

// biome-ignore format: a table
const cases: readonly [what: string, given: Case, code: string][] = [
  ["the first one",                                  { next: number(0, 7) },                                               "accepted"],
  ["a newer one",                                    { next: number(0, 8), running: number(0, 7) },                        "accepted"],
  ["an older one",                                   { next: number(0, 6), running: number(0, 7) },                        "release-older"],
  ["an older one that is wanted",                    { next: number(0, 6), running: number(0, 7), allowOlder: true },      "accepted"],
  ["another with the same number",                   { next: number(0, 7), running: number(0, 7) },                        "release-older"],
  ["the very same",                                  { next: number(0, 7), running: number(0, 7), isSame: true },          "accepted"],
  ["a newer epoch, counting from 1 again",           { next: number(1, 1), running: number(0, 7) },                        "accepted"],
  ["an older epoch than the one that runs",          { next: number(1, 9), running: number(2, 1) },                        "release-older"],
  ["a lower epoch than the floor",                   { next: number(1, 9), running: number(2, 1), floor: 2 },              "release-epoch-low"],
  ["a lower epoch than the floor, wanted",           { next: number(1, 9), floor: 2, allowOlder: true },                   "release-epoch-low"],
  ["the floor's epoch, with nothing running",        { next: number(2, 1), floor: 2 },                                     "accepted"],
  ["as far as one release may go",                   { next: number(maxEpochStep, 1) },                                    "accepted"],
  ["further than one release may go",                { next: number(maxEpochStep + 1, 1) },                                "release-epoch-jump"],
  ["the end of all numbers",                         { next: number(2 ** 31 - 1, 1), running: number(3, 1), floor: 3 },    "release-epoch-jump"],
  ["one without a number after one with",            { next: unnumbered, running: number(0, 7) },                          "release-older"],
  ["one with a number after one without",            { next: number(0, 1), running: unnumbered },                          "accepted"],
  ["one without a number after another",             { next: unnumbered, running: unnumbered },                            "accepted"],
];

describe("after what runs", () => {
  test.each(cases)("%s", (_, given, code) => {
    expect(codeFor(given)).toBe(code);
  });

  test("no sequence of accepted releases ever leads below an epoch that was reached", () => {
    const numbers = fc.record({
      epoch: fc.nat(40),
      serial: fc.integer({ min: 1, max: 5 }),
      allowOlder: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(numbers, { maxLength: 60 }), (attempts) => {
        let running: ReleaseNumber | undefined;
        let floor = 0;
        for (const { allowOlder, ...next } of attempts) {
          if (
            codeFor({ next, floor, allowOlder, ...(running === undefined ? {} : { running }) }) !== "accepted"
          )
            continue;
          expect(next.epoch).toBeGreaterThanOrEqual(floor);
          expect(next.epoch - floor).toBeLessThanOrEqual(maxEpochStep);
          running = next;
          floor = Math.max(floor, next.epoch);
        }
      }),
    );
  });

  test("what is installed does not start below the floor", () => {
    expect(codeOf(() => checkEpoch(number(1, 1), floorAt(2)))).toBe("release-epoch-low");
    expect(codeOf(() => checkEpoch(number(2, 1), floorAt(2)))).toBe("accepted");
  });
});

describe("a release that expires", () => {
  const now = { date: new Date("2026-06-01T00:00:00Z"), source: "the system clock" };
  test.each([
    [undefined, "accepted"],
    ["2026-06-01T00:00:00Z", "accepted"],
    ["2026-05-31T23:59:59Z", "release-expired"],
    ["2099-01-01T00:00:00Z", "accepted"],
  ])("%s", (expires, code) => {
    expect(codeOf(() => checkExpiry(expires, now))).toBe(code);
  });

  test("names the clock that says so", () => {
    expect(() => checkExpiry("2020-01-01T00:00:00Z", now)).toThrow("the system clock says 2026-06-01");
  });
});
