// The power goes at any change that installing an app, going back, or removing it makes. After the next boot the whole
// old version is there or the whole new one, it can be brought back from what is kept, and going on works.

import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type AppDevice, installApp, removeApp, rollbackApp } from "../../src/apps/apps.ts";
import { restoreApps } from "../../src/apps/restore.ts";
import { recoverSets } from "../../src/signed-sets/install-set.ts";
import { makeSet } from "../../src/signed-sets/make-set.ts";
import { impatientClock, memoryManager } from "../memory-manager.ts";
import { put, treeOf } from "../unit/signed-sets/set-fixture.ts";
import { cutPoints } from "./disk.ts";
import { fingerprint, materialise, outcomesAt, randomFrom } from "./outcomes.ts";
import { record } from "./record.ts";

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
const noImages = {
  list: async () => [],
  load: async () => undefined,
  remove: async () => undefined,
  sync: async () => undefined,
};

function deviceIn(directory: string): AppDevice {
  return {
    ...{
      root: join(directory, "root"),
      state: join(directory, "state/sets"),
      apps: join(directory, "state/apps"),
    },
    ...{ images: noImages, keys: [publicKey] },
    activation: { systemd: memoryManager(), clock: impatientClock(), timeout: 9, settle: 1 },
  };
}

const asked = { force: false, unattended: false };
const versions = { old: 1, new: 2 } as const;

async function makeVersion(tree: string, serial: number): Promise<void> {
  await mkdir(tree);
  await put(tree, {
    "radio.container": `[Container]\nRootfs=/${serial}\n`,
    "files/a": `${serial}`,
    [`files/${serial}`]: "",
  });
  const app = { version: `${serial}.0`, images: [] };
  await makeSet(
    tree,
    { name: "radio", serial, destination: "/run/quadlets/radio", ...owner, app },
    privateKey,
  );
}

const install = (directory: string, version: keyof typeof versions) =>
  installApp(deviceIn(directory), join(directory, version), asked);

async function installed(directory: string): Promise<string> {
  const tree = await treeOf(join(directory, "root/run/quadlets/radio"));
  return JSON.stringify(Object.entries(tree).filter(([path]) => !path.startsWith(".mos-set-")));
}

/** What a boot does; with an empty /run. */
async function boot(directory: string): Promise<void> {
  const device = deviceIn(directory);
  rmSync(join(directory, "root/run"), { recursive: true, force: true });
  await recoverSets(device);
  const { failed } = await restoreApps(device, device.apps, async () => device.keys);
  expect(failed).toEqual([]);
}

async function explore(
  before: readonly (keyof typeof versions)[],
  work: (directory: string) => Promise<unknown>,
) {
  const directory = mkdtempSync(join(tmpdir(), "mos-crash-app-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const original = join(directory, "original");
  mkdirSync(join(original, "root"), { recursive: true });
  mkdirSync(join(original, "state"));
  for (const [version, serial] of Object.entries(versions))
    await makeVersion(join(original, version), serial);
  for (const version of before) await install(original, version);
  const ends = [await installed(original)];
  const recording = await record(original, () => work(original));
  ends.push(await installed(original));
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
      await boot(place);
      const which = ends.indexOf(await installed(place));
      expect(which, `after cut ${seen.size}: ${await installed(place)}`).not.toBe(-1);
      counts.set(which, (counts.get(which) ?? 0) + 1);
      await install(place, "new");
      await boot(place);
      expect(await installed(place)).toContain("files/2");
      rmSync(place, { recursive: true });
    }
  }
  return { states: seen.size, ends: [...counts.keys()].sort() };
}

describe("a power cut", () => {
  test("in the first installation of an app", async () => {
    const { states, ends } = await explore([], (directory) => install(directory, "new"));
    expect(states).toBeGreaterThan(100);
    expect(ends).toEqual([0, 1]);
  });
  test("in the installation of the next version", async () => {
    const { states, ends } = await explore(["old"], (directory) => install(directory, "new"));
    expect(states).toBeGreaterThan(100);
    expect(ends).toEqual([0, 1]);
  });
  test("in the installation of the version that is there", async () => {
    const { ends } = await explore(["old", "new"], (directory) => install(directory, "new"));
    expect(ends).toEqual([0]);
  });
  test("while it goes back", async () => {
    const { states, ends } = await explore(["old", "new"], (directory) =>
      rollbackApp(deviceIn(directory), "radio"),
    );
    expect(states).toBeGreaterThan(50);
    expect(ends).toEqual([0, 1]);
  });
  test("while it is removed", async () => {
    const { states, ends } = await explore(["old"], (directory) => removeApp(deviceIn(directory), "radio"));
    expect(states).toBeGreaterThan(20);
    expect(ends).toEqual([0, 1]);
  });
});
