import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  keptOthers,
  type Needs,
  planGarbage,
  type StateOnDisk,
  type StoredGeneration,
} from "../../../src/generation/garbage.ts";
import { digestOf } from "../../../src/oci/digest.ts";

const blob = (name: string) => ({ name: digestOf(name), bytes: 1000 });

function needs(change: { readonly [K in keyof Needs]?: readonly string[] }): Needs {
  return {
    blobs: new Set((change.blobs ?? []).map(digestOf)),
    groups: new Set(change.groups),
    volumes: new Set(change.volumes),
    networks: new Set(change.networks),
  };
}

function stored(number: number, change: Parameters<typeof needs>[0] = {}): StoredGeneration {
  return { number, bytes: 10, needs: needs({ blobs: [`image ${number}`, "shared"], ...change }) };
}

/** Generations 1 to 7, of which 7 runs and 6 ran before. */
function disk(change: Partial<StateOnDisk> = {}): StateOnDisk {
  return {
    generations: [1, 2, 3, 4, 5, 6, 7].map((number) => stored(number)),
    pinned: new Set([6, 7]),
    failed: new Set(),
    blobs: [...[1, 2, 3, 4, 5, 6, 7].map((number) => blob(`image ${number}`)), blob("shared"), blob("stray")],
    leftovers: [],
    volumes: [],
    networks: [],
    live: { volumes: new Set(), networks: new Set() },
    idmaps: new Map(),
    volumeOwners: [],
    ...change,
  };
}

const names = (items: readonly { readonly name: unknown }[]) => items.map(({ name }) => name);

describe("what is kept", () => {
  it("is what runs, what ran before, and the three newest others", () => {
    const { kept, generations } = planGarbage(disk());
    expect(kept).toEqual([3, 4, 5, 6, 7]);
    expect(generations).toEqual([
      { name: 1, bytes: 10, why: "old" },
      { name: 2, bytes: 10, why: "old" },
    ]);
  });

  it("is both sides of a transaction under way, however old", () => {
    expect(planGarbage(disk({ pinned: new Set([1, 7]) })).kept).toEqual([1, 4, 5, 6, 7]);
  });

  it("is not what failed its trial, nor what cannot be read", () => {
    const generations = disk().generations.map((one) =>
      one.number === 4 ? { ...one, needs: undefined } : one,
    );
    const plan = planGarbage(disk({ generations, failed: new Set([5]) }));
    expect(plan.kept).toEqual([1, 2, 3, 6, 7]);
    expect(plan.generations.map(({ why }) => why)).toEqual(["damaged", "failed"]);
  });

  it("includes the directory of the highest number, so that none is given twice, but not its images", () => {
    const plan = planGarbage(disk({ pinned: new Set([5, 6]), failed: new Set([7]) }));
    expect(plan.kept).toContain(7);
    expect(names(plan.blobs)).toContain(digestOf("image 7"));
  });
});

describe("what goes from the store", () => {
  it("is what no kept generation needs", () => {
    const wanted = ["image 1", "image 2", "stray"].map(digestOf);
    expect(names(planGarbage(disk()).blobs)).toEqual(wanted);
  });

  it("is nothing while it is not known what the current generation needs", () => {
    const generations = disk().generations.map((one) =>
      one.number === 7 ? { ...one, needs: undefined } : one,
    );
    const leftovers = [{ name: "/state/.x.tmp", bytes: 1 }];
    const plan = planGarbage(
      disk({ generations, leftovers, networks: ["mos-auto"], idmaps: new Map([["a", 1e5]]) }),
    );
    expect(plan).toMatchObject({
      generations: [],
      blobs: [],
      networks: [],
      groups: [],
      blockedBy: 7,
      leftovers,
    });
  });

  it("is everything where nothing was applied", () => {
    const plan = planGarbage(disk({ generations: [], pinned: new Set() }));
    expect(plan.blobs).toHaveLength(9);
  });
});

describe("networks and volumes in memory", () => {
  it("go when no kept generation lists them and no unit of them is live", () => {
    const generations = [stored(1, { volumes: ["cache"], networks: ["mos-auto"] })];
    const plan = planGarbage(
      disk({
        ...{ generations, pinned: new Set([1]) },
        volumes: ["cache", "old", "used"],
        networks: ["mos-auto", "mos-10.0.3.0-24", "mos-10.0.4.0-24"],
        live: { volumes: new Set(["used"]), networks: new Set(["mos-10.0.4.0-24"]) },
      }),
    );
    expect([plan.volumes, plan.networks]).toEqual([["old"], ["mos-10.0.3.0-24"]]);
  });
});

describe("uid ranges", () => {
  const idmaps = new Map([
    ["web", 100_000],
    ["db", 165_536],
    ["gone", 231_072],
  ]);
  const generations = [stored(1, { groups: ["web"] })];

  it("go with the last generation of their group", () => {
    expect(planGarbage(disk({ generations, pinned: new Set([1]), idmaps })).groups).toEqual(["db", "gone"]);
  });

  it.each([
    ["its root", 165_536],
    ["another user of it", 165_536 + 33],
    ["its last user", 165_536 + 65_535],
  ])("stay as long as %s owns a persistent volume", (_who, uid) => {
    const plan = planGarbage(disk({ generations, pinned: new Set([1]), idmaps, volumeOwners: [0, uid] }));
    expect(plan.groups).toEqual(["gone"]);
  });
});

describe("any state of the disk", () => {
  const numbers = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 10 });
  const labels = fc.subarray(["a", "b", "c", "d", "e"]);
  const arbitrary = numbers.chain((list) =>
    fc.record({
      generations: fc.tuple(
        ...list.map((number) =>
          fc
            .record({ blobs: labels, groups: labels, readable: fc.boolean() })
            .map(({ readable, ...change }) => ({
              ...stored(number, change),
              ...(readable ? {} : { needs: undefined }),
            })),
        ),
      ),
      pinned: fc.subarray(list, { maxLength: Math.min(3, list.length) }).map((some) => new Set(some)),
      failed: fc.subarray(list).map((some) => new Set(some)),
      blobs: labels.map((some) => some.map(blob)),
    }),
  );

  it("loses nothing that a kept generation needs, and planned again loses nothing more", () => {
    fc.assert(
      fc.property(arbitrary, (change) => {
        const before = disk(change);
        const plan = planGarbage(before);
        const gone = new Set(names(plan.blobs));
        const removed = new Set(names(plan.generations));
        const after = {
          ...before,
          generations: before.generations.filter(({ number }) => !removed.has(number)),
          blobs: before.blobs.filter(({ name }) => !gone.has(name)),
        };
        for (const number of before.pinned) {
          expect(plan.kept).toContain(number);
          const generation = before.generations.find((one) => one.number === number);
          for (const needed of generation?.needs?.blobs ?? []) expect(gone.has(needed)).toBe(false);
        }
        expect(plan.kept.length).toBeLessThanOrEqual(
          plan.blockedBy === undefined ? before.pinned.size + keptOthers + 1 : before.generations.length,
        );
        expect(planGarbage(after)).toMatchObject({ generations: [], blobs: [] });
      }),
    );
  });
});
