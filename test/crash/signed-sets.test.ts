// F01, F03: the power goes at any change that installing or removing a signed set makes. What is installed is then the
// whole old set or the whole new one, and nothing else.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Audience } from "../../src/signed-sets/audience.ts";
import type { SetPlaces } from "../../src/signed-sets/bring.ts";
import { installSet, recoverSets, removeSet } from "../../src/signed-sets/install-set.ts";
import { installLevel } from "../../src/signed-sets/levels.ts";
import type { LevelDevice } from "../../src/signed-sets/merge-installed.ts";
import { restoreLevels } from "../../src/signed-sets/restore-levels.ts";
import { impatientClock, memoryManager } from "../memory-manager.ts";
import { keys, makeTree, put, treeOf } from "../unit/signed-sets/set-fixture.ts";
import { cutPoints, type Recording } from "./disk.ts";
import { fingerprint, materialise, outcomesAt, randomFrom } from "./outcomes.ts";
import { record } from "./record.ts";

const old = {
  same: "S",
  changed: "old",
  gone: "G",
  "d/gone": "G",
  "d/kept": "K",
  turned: "file",
  l: { to: "same" },
};
const next = {
  same: "S",
  changed: "new!",
  "d/kept": "K",
  "d/new": "N",
  "turned/x": "X",
  l: { to: "changed" },
  "e/f": "F",
};
type Tree = Readonly<Record<string, string>>;

const placesIn = (directory: string): SetPlaces => ({
  root: join(directory, "root"),
  state: join(directory, "state"),
});

/** What is installed, without what the next installation clears away. */
async function installed(directory: string): Promise<Tree> {
  const all = Object.entries(await treeOf(join(directory, "root/etc/quadlets")));
  return Object.fromEntries(all.filter(([path]) => !path.startsWith(".mos-set-")));
}

interface Scenario {
  readonly work: (directory: string) => Promise<unknown>;
  /** Whether the set is there before. */
  readonly isInstalled: boolean;
  /** Done before the recording begins. */
  readonly first?: (directory: string) => Promise<unknown>;
  /** What the next boot does; recovery is enough for sets that are in no levels. */
  readonly boot?: (directory: string) => Promise<unknown>;
}

async function prepare({ isInstalled, first }: Scenario): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "mos-crash-set-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const original = join(directory, "original");
  mkdirSync(join(original, "state"), { recursive: true });
  mkdirSync(join(original, "root/etc/quadlets"), { recursive: true });
  await put(join(original, "root/etc/quadlets"), { "d/theirs": "T" });
  await makeTree(join(original, "old"), old, 1);
  await makeTree(join(original, "new"), next, 2);
  await makeTree(join(original, "bad"), { changed: "bad", d: "file", new: "N", same: "S" }, 2);
  if (isInstalled) await installSet(placesIn(original), join(original, "old"), keys, { force: false });
  else await recoverSets(placesIn(original));
  await first?.(original);
  return directory;
}

/** Every state that the disk may be in, once; the work is done there again after the recovery. */
async function survive(directory: string, recording: Recording, scenario: Scenario, ends: readonly Tree[]) {
  const random = randomFrom(7);
  const seen = new Set<string>();
  const counts = new Map<number, number>();
  for (const cut of cutPoints(recording)) {
    for (const outcome of outcomesAt(recording, cut, random)) {
      const print = fingerprint(recording, outcome);
      if (seen.has(print)) continue;
      seen.add(print);
      const place = join(directory, `cut-${seen.size}`);
      materialise(recording, outcome, place);
      await recoverSets(placesIn(place));
      await scenario.boot?.(place);
      const now = await installed(place);
      const which = ends.findIndex((end) => JSON.stringify(end) === JSON.stringify(now));
      expect(which, `after cut ${seen.size}: ${JSON.stringify(now)}`).not.toBe(-1);
      counts.set(which, (counts.get(which) ?? 0) + 1);
      await scenario.work(place);
      expect(await installed(place)).toEqual(ends.at(-1));
      expect(await treeOf(join(place, "root/etc/quadlets"))).toEqual(ends.at(-1));
      rmSync(place, { recursive: true });
    }
  }
  return { states: seen.size, counts };
}

async function explore(scenario: Scenario) {
  const directory = await prepare(scenario);
  const original = join(directory, "original");
  const before = await installed(original);
  const recording = await record(original, () => scenario.work(original));
  return await survive(directory, recording, scenario, [before, await installed(original)]);
}

const install = (directory: string) =>
  installSet(placesIn(directory), join(directory, "new"), keys, { force: false });

/** A device that takes sets in levels. */
const levelDevice = (directory: string): LevelDevice => ({
  places: { ...placesIn(directory), kept: join(directory, "kept"), image: join(directory, "image") },
  keys,
  identity: { machine: "m1", classes: ["kiosk"] },
});

const everybody: Audience = { who: "everybody" };
const kiosk: Audience = { who: "class", classes: ["kiosk"] };
const m1: Audience = { who: "machine", machine: "m1" };

async function signLevels(directory: string): Promise<void> {
  const all = { same: "S", changed: "everybody's", "d/kept": "K" };
  await makeTree(join(directory, "everybody"), all, 1, { audience: everybody });
  await makeTree(join(directory, "kiosk"), { changed: "kiosk's", d: "file" }, 1, {
    audience: kiosk,
  });
  await makeTree(join(directory, "m1"), { changed: "m1's", new: "N" }, 1, { audience: m1 });
  await makeTree(join(directory, "m1-2"), { new: "N2" }, 2, { audience: m1 });
}

const installs = async (directory: string, ...names: readonly string[]): Promise<void> => {
  for (const name of names)
    await installLevel(levelDevice(directory), join(directory, name), { force: false });
};

/** Levels before, what is done, and what the boot afterwards does with all of it. */
const inLevels = (before: readonly string[], work: Scenario["work"]): Scenario => ({
  isInstalled: false,
  first: async (directory) => {
    rmSync(join(directory, "root/etc/quadlets/d"), { recursive: true });
    await signLevels(directory);
    await installs(directory, ...before);
  },
  work,
  boot: async (directory) => {
    const { failed, later } = await restoreLevels(levelDevice(directory), { leaveReadOnly: false });
    expect({ failed, later }).toEqual({ failed: [], later: [] });
  },
});

describe("a power cut, of a set in levels,", () => {
  test("in the installation of its first level", async () => {
    const { states, counts } = await explore(inLevels([], (directory) => installs(directory, "everybody")));
    expect(states).toBeGreaterThan(50);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
  test("in the installation of a level that hides another one", async () => {
    const { states, counts } = await explore(
      inLevels(["everybody", "m1"], (directory) => installs(directory, "kiosk")),
    );
    expect(states).toBeGreaterThan(50);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
  test("in the installation of a release in which a file of a lower level comes back", async () => {
    const { states, counts } = await explore(
      inLevels(["everybody", "kiosk", "m1"], (directory) => installs(directory, "m1-2")),
    );
    expect(states).toBeGreaterThan(50);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
});

describe("a power cut", () => {
  test("in the first installation of a signed set", async () => {
    const { states, counts } = await explore({ work: install, isInstalled: false });
    expect(states).toBeGreaterThan(100);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
  test("in the installation of the next release", async () => {
    const { states, counts } = await explore({ work: install, isInstalled: true });
    expect(states).toBeGreaterThan(100);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
  test("in the removal", async () => {
    const remove = (directory: string) => removeSet(placesIn(directory), "quadlets");
    const { states, counts } = await explore({ work: remove, isInstalled: true });
    expect(states).toBeGreaterThan(50);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
  test("while the units of a set are on trial", async () => {
    const activation = { systemd: memoryManager(), clock: impatientClock(), timeout: 9, settle: 1 };
    const work = (directory: string) =>
      installSet(placesIn(directory), join(directory, "new"), keys, { force: false, activation });
    const { states, counts } = await explore({ work, isInstalled: true });
    expect(states).toBeGreaterThan(100);
    expect([...counts.keys()].sort()).toEqual([0, 1]);
  });
  test("on the way back from an installation that failed", async () => {
    const scenario: Scenario = {
      isInstalled: true,
      // What others have in d is in the way of a file of that name, which shows only when it is its turn.
      work: async (directory) => {
        const failed = installSet(placesIn(directory), join(directory, "bad"), keys, { force: false });
        await expect(failed).rejects.toThrow();
      },
    };
    const { states, counts } = await explore(scenario);
    expect(states).toBeGreaterThan(100);
    expect([...counts.keys()]).toEqual([0]);
  });
});
