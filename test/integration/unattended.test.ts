// Updates by themselves: channel, window, rollout, and what is not tried again.
import { writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { type UnattendedResult, unattendedUpdate } from "../../src/agent/unattended.ts";
import { update } from "../../src/agent/update.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { listGenerations } from "../../src/generation/generations.ts";
import type { Release } from "../../src/manifest/schema.ts";
import type { MemoryManager } from "../memory-manager.ts";
import { serveLayout } from "./layout-server.ts";
import {
  goodParts,
  type Image,
  installManifest,
  newDevice,
  published,
  type Signers,
  signedImage,
} from "./refusals-fixture.ts";

let signers: Signers;
let image: Image;
beforeAll(async () => {
  ({ signers, image } = await signedImage("one", 4));
});

const health = { timeout: 10, settle: 0, tries: 1 };

async function channelWith(release: Partial<Release>): Promise<{ reference: string; directory: string }> {
  const installJson = installManifest(image, { release: { serial: 1, epoch: 0, ...release }, health });
  return await published(goodParts(signers, image, installJson));
}

async function follow(device: AgentContext, channel: string, settings: object = {}): Promise<void> {
  const path = device.updateSettings[0] ?? "";
  await writeFile(path, JSON.stringify({ version: 1, channel, ...settings }), { mode: 0o644 });
}

const noon = new Date("2026-11-21T12:00:00Z");
const look = (device: AgentContext, now = noon): Promise<UnattendedResult> =>
  unattendedUpdate(device, now, () => undefined, new AbortController().signal);
const skipped = (why: RegExp) => ({ outcome: "skipped", why: expect.stringMatching(why) });

describe("a device that updates itself", () => {
  test("does nothing without a channel, and says so", async () => {
    expect(await look(await newDevice(signers))).toEqual(skipped(/no channel is set/));
  });

  test("moves to what its channel names, once", async () => {
    const device = await newDevice(signers);
    await follow(device, (await channelWith({})).reference);
    expect(await look(device)).toMatchObject({ outcome: "updated", generation: 1 });
    expect(await look(device)).toMatchObject({ outcome: "unchanged", generation: 1 });
  });

  test("asks nobody outside its window, and says when it opens", async () => {
    const device = await newDevice(signers);
    let requests = 0;
    const { directory } = await channelWith({});
    const authority = await serveLayout(directory, () => {
      requests++;
      return false;
    });
    const window = { from: "23:00", to: "01:00", clock: "utc" };
    await follow(device, `${authority}/machine/install:1.0.0`, { window });
    expect(await look(device)).toEqual({
      ...skipped(/outside the window/),
      next: "2026-11-21T23:00:00.000Z",
    });
    expect(requests).toBe(0);
    expect(await look(device, new Date("2026-11-22T00:30:00Z"))).toMatchObject({ outcome: "updated" });
  });

  test("does nothing while its clock is not set", async () => {
    const device = { ...(await newDevice(signers)), buildTime: new Date("2026-01-01T00:00:00Z") };
    await follow(device, (await channelWith({})).reference);
    expect(await look(device, new Date("1970-01-01T00:10:00Z"))).toEqual(skipped(/clock is not set/));
  });

  test("does not try again what failed here, until the channel names another", async () => {
    const device = await newDevice(signers);
    const manager = device.systemd as MemoryManager;
    const { reference } = await channelWith({ serial: 1 });
    await follow(device, reference);
    manager.failing.add("mos-svc-web.service");
    expect(await look(device).catch((error) => asMosError(error).code)).toBe("generation-unhealthy");
    manager.failing.clear();
    expect(await look(device)).toEqual(skipped(/was tried on this device at .* and given up/));
    await follow(device, (await channelWith({ serial: 2 })).reference);
    expect(await look(device)).toMatchObject({ outcome: "updated" });
  });

  test("does not go back with its channel", async () => {
    const device = await newDevice(signers);
    await follow(device, (await channelWith({ serial: 2 })).reference);
    await look(device);
    await follow(device, (await channelWith({ serial: 1 })).reference);
    expect(await look(device)).toEqual(skipped(/serial 2 of epoch 0 runs here/));
  });

  test.each([
    ["a key that there is not", { colour: "red" }],
    ["a window that no look may fall into", { window: { from: "02:00", to: "02:30" } }],
    ["a day that there is not", { window: { from: "02:00", to: "05:00", days: ["noday"] } }],
    ["a time that there is not", { window: { from: "24:00", to: "05:00" } }],
    ["a channel that is no reference", { channel: "somewhere over" }],
  ])("refuses settings with %s", async (_what, change) => {
    const device = await newDevice(signers);
    await follow(device, "oci:/nowhere:1.0.0", change);
    expect(await look(device).catch((error) => asMosError(error).code)).toBe("update-settings-invalid");
  });
});

describe("a staged rollout", () => {
  const identified = async (id: string): Promise<AgentContext> => {
    const device = await newDevice(signers);
    await writeFile(device.machineId, `${id}\n`);
    return device;
  };
  const id = (i: number) => i.toString(16).padStart(32, "0");

  test("reaches some devices, and with a larger share those and more", async () => {
    const [small, large, all] = [
      await channelWith({ rollout: { percent: 0 } }),
      await channelWith({ rollout: { percent: 50 } }),
      await channelWith({ rollout: { percent: 100 } }),
    ];
    const outcomes = [];
    for (let i = 0; i < 6; i++) {
      const device = await identified(id(i));
      const seen = [];
      for (const { reference } of [small, large, all]) {
        await follow(device, reference);
        const { outcome } = await look(device);
        seen.push(outcome);
        if (outcome === "updated") break;
      }
      outcomes.push(seen.join());
    }
    expect(new Set(outcomes)).toEqual(new Set(["skipped,updated", "skipped,skipped,updated"]));
  });

  test("says when it will reach the device, and then does", async () => {
    const device = await identified(id(1));
    const rollout = { percent: 0, from: "2026-11-21T00:00:00Z", over: 100 };
    await follow(device, (await channelWith({ rollout })).reference);
    const waiting = await look(device, new Date("2026-11-20T00:00:00Z"));
    expect(waiting).toMatchObject(skipped(/has reached 0 % of all devices, and this one is at \d+ %/));
    const next = "next" in waiting ? (waiting.next ?? "") : "";
    expect(await look(device, new Date(Date.parse(next) - 60_000))).toMatchObject({
      outcome: "skipped",
      next,
    });
    expect(await look(device, new Date(next))).toMatchObject({ outcome: "updated" });
  });

  test("comes last to a device that does not know who it is", async () => {
    const device = await newDevice(signers);
    await follow(device, (await channelWith({ rollout: { percent: 99 } })).reference);
    expect(await look(device)).toEqual(skipped(/this one is at 99 %/));
  });

  test("is not asked by a person, who is told, nor by a device that is for testing", async () => {
    const { reference } = await channelWith({ rollout: { percent: 0 } });
    const [mine, tester] = [await newDevice(signers), await newDevice(signers)];
    const options = { allowOlder: false, retry: false };
    expect(await update(mine, reference, options, () => undefined)).toMatchObject({
      ...{ outcome: "updated", rolloutIgnored: 0 },
    });
    await follow(tester, reference, { rollout: "ignore" });
    expect(await look(tester)).toMatchObject({ outcome: "updated" });
    expect(await listGenerations(tester.places)).toEqual([1]);
  });
});
