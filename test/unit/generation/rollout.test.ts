import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Rollout, reachedAt, rolloutPlace, rolloutShare } from "../../../src/generation/rollout.ts";
import type { InstallManifest } from "../../../src/manifest/schema.ts";
import { sampleManifest } from "../../samples.ts";

const device = (number: number) => createHash("sha256").update(`device ${number}`).digest();
const release = (serial: number, rollout?: Rollout): InstallManifest =>
  sampleManifest({ release: { serial, epoch: 0, ...(rollout === undefined ? {} : { rollout }) } });

const times = fc.date({
  min: new Date("2026-01-01T00:00:00Z"),
  max: new Date("2027-01-01T00:00:00Z"),
  noInvalidDate: true,
});
const rollouts: fc.Arbitrary<Rollout> = fc
  .record({ percent: fc.integer({ min: 0, max: 100 }), over: fc.integer({ min: 1, max: 500 }) })
  .chain(({ percent, over }) =>
    fc.oneof(
      fc.constant({ percent }),
      times.map((from) => ({ percent, from: from.toISOString() })),
      times.map((from) => ({ percent, from: from.toISOString(), over })),
    ),
  );

describe("the place of a device in a rollout", () => {
  it("is written down: other implementations come to the same", () => {
    // Computed by another program: HMAC of Python's hmac and hashlib.
    expect([0, 1, 2, 3].map((number) => rolloutPlace(device(number), release(7)))).toEqual([26, 80, 69, 1]);
  });

  it("is spread evenly over all devices (chi-squared, 99 degrees of freedom, p = 0.0001)", () => {
    const counts = new Array<number>(100).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const place = rolloutPlace(device(i), release(1));
      counts[place] = (counts[place] ?? 0) + 1;
    }
    expect(counts).toHaveLength(100);
    expect(counts.reduce((sum, count) => sum + (count - 200) ** 2 / 200, 0)).toBeLessThan(161);
  });

  it("is another one for the next release, so that it is not always the same devices", () => {
    const first = (serial: number) =>
      new Set(
        Array.from({ length: 2000 }, (_, i) => i).filter(
          (i) => rolloutPlace(device(i), release(serial)) < 10,
        ),
      );
    const [one, two] = [first(1), first(2)];
    const both = [...one].filter((i) => two.has(i)).length;
    // A tenth of a tenth of 2000 is 20.
    expect(both).toBeGreaterThan(3);
    expect(both).toBeLessThan(50);
  });

  it("is the same when the release is published again with another share, so who was in stays in", () => {
    fc.assert(
      fc.property(fc.nat(), rollouts, rollouts, (number, one, other) => {
        expect(rolloutPlace(device(number), release(3, one))).toBe(
          rolloutPlace(device(number), release(3, other)),
        );
      }),
    );
  });
});

describe("the share that a rollout has reached", () => {
  it("is 0 to 100, and never becomes smaller", () => {
    fc.assert(
      fc.property(rollouts, times, times, (rollout, a, b) => {
        const [earlier, later] = a < b ? [a, b] : [b, a];
        const shares = [rolloutShare(rollout, earlier), rolloutShare(rollout, later)] as const;
        expect(shares[0]).toBeGreaterThanOrEqual(0);
        expect(shares[1]).toBeLessThanOrEqual(100);
        expect(shares[0]).toBeLessThanOrEqual(shares[1]);
      }),
    );
  });

  it("reaches a place at the time that was told", () => {
    fc.assert(
      fc.property(rollouts, fc.integer({ min: 0, max: 99 }), (rollout, place) => {
        const at = reachedAt(rollout, place);
        if (at === undefined) {
          expect(rolloutShare(rollout, new Date("2100-01-01T00:00:00Z"))).toBeLessThanOrEqual(place);
          return;
        }
        expect(place).toBeLessThan(rolloutShare(rollout, at));
        if (rollout.from !== undefined)
          expect(place).toBeGreaterThanOrEqual(rolloutShare(rollout, new Date(at.getTime() - 1000)));
      }),
    );
  });

  it.each<[string, Rollout, string, number]>([
    ["a share alone holds at once", { percent: 10 }, "1970-01-01T00:00:00Z", 10],
    ["nobody before its time", { percent: 100, from: "2026-05-01T00:00:00Z" }, "2026-04-30T23:59:59Z", 0],
    ["its share from then on", { percent: 25, from: "2026-05-01T00:00:00Z" }, "2026-05-01T00:00:00Z", 25],
    [
      "half of the rest in half of the hours",
      { percent: 20, from: "2026-05-01T00:00:00Z", over: 48 },
      "2026-05-02T00:00:00Z",
      60,
    ],
    ["all at the end", { percent: 20, from: "2026-05-01T00:00:00Z", over: 48 }, "2026-05-03T00:00:00Z", 100],
  ])("%s", (_what, rollout, now, share) => {
    expect(rolloutShare(rollout, new Date(now))).toBe(share);
  });
});
