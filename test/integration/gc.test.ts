// What is collected on a device, and what never is: real updates, a real store.
import { chown, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { collectAfterCommit, gc } from "../../src/agent/gc.ts";
import { history } from "../../src/agent/history.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { listGenerations } from "../../src/generation/generations.ts";
import { lockPath } from "../../src/generation/places.ts";
import type { InstallManifest } from "../../src/manifest/schema.ts";
import { withLock } from "../../src/system/lock.ts";
import { sampleTarget } from "../samples.ts";
import { snapshot, updateEnding } from "./device-fixture.ts";
import {
  goodParts,
  type Image,
  installManifest,
  makeSigners,
  newDevice,
  packImage,
  published,
  type Signers,
} from "./refusals-fixture.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let signers: Signers;
let images: Image[];
let work: string;
beforeAll(async () => {
  signers = await makeSigners();
  work = await makeWorkDirectory();
  images = [];
  for (let i = 0; i < 8; i++) images.push(await packImage(work, 4, `image ${i}`));
});
afterAll(() => rm(work, { recursive: true, force: true }));

// Well is well enough at once.
const health = { timeout: 10, settle: 0, tries: 1 };

const imageOf = (serial: number): Image => {
  const image = images[serial - 1];
  if (image === undefined) throw new Error("too few images");
  return image;
};

async function apply(device: AgentContext, serial: number, change: Partial<InstallManifest> = {}) {
  const image = imageOf(serial);
  const installJson = installManifest(image, { release: { serial, epoch: 0 }, health, ...change });
  const { reference } = await published(goodParts(signers, image, installJson));
  const ending = await updateEnding(device, reference);
  expect(ending.code, ending.message).toBe("updated");
}

async function deviceWith(generations: number): Promise<AgentContext> {
  const device = await newDevice(signers);
  for (let serial = 1; serial <= generations; serial++) await apply(device, serial);
  return device;
}

const storeOf = ({ places }: AgentContext) => join(places.state, "oci");
const blobsOf = async (device: AgentContext) => (await readdir(join(storeOf(device), "blobs/sha256"))).sort();
const listed = async (device: AgentContext): Promise<string[]> =>
  JSON.parse(await readFile(join(storeOf(device), "index.json"), "utf8")).manifests.map(
    ({ digest }: { digest: string }) => digest,
  );
const layerOf = (serial: number) => imageOf(serial).layer.descriptor.digest.slice("sha256:".length);
const collect = (device: AgentContext, dryRun = false) => gc(device, { dryRun });

/** What an agent before this one would have left: older generations, and blobs that nobody needs. */
async function litter(device: AgentContext): Promise<string> {
  const generations = join(device.places.state, "generations");
  const [first = 0] = await listGenerations(device.places);
  for (let number = 1; number < first; number++)
    await cp(join(generations, String(first)), join(generations, String(number)), { recursive: true });
  const stray = "ab".repeat(32);
  await writeFile(join(storeOf(device), "blobs/sha256", stray), "x".repeat(10_000));
  return stray;
}

describe("a device after seven updates", () => {
  test("has kept what runs, what ran before and three others, with their images, and goes back to each", async () => {
    const device = await deviceWith(7);
    expect(await listGenerations(device.places)).toEqual([3, 4, 5, 6, 7]);
    const blobs = await blobsOf(device);
    expect(blobs).not.toContain(layerOf(2));
    for (const serial of [3, 4, 5, 6, 7]) expect(blobs).toContain(layerOf(serial));
    expect((await listed(device)).sort()).toEqual(
      [3, 4, 5, 6, 7].map((serial) => imageOf(serial).manifest.descriptor.digest).sort(),
    );
    expect((await history(device)).every(({ error }) => error === undefined)).toBe(true);
    expect(await collect(device)).toMatchObject({ generations: [], blobs: [], leftovers: [], bytes: 0 });
  });
});

describe("gc", () => {
  test("removes older generations and what is needed by none, and nothing when called again", async () => {
    const device = await deviceWith(6);
    const stray = await litter(device);
    const result = await collect(device);
    expect(result).toMatchObject({ dryRun: false, kept: [2, 3, 4, 5, 6], problems: [] });
    expect(result.generations.map(({ name, why }) => [name, why])).toEqual([[1, "old"]]);
    expect(result.blobs.map(({ name }) => name)).toEqual([`sha256:${stray}`]);
    expect(result.bytes).toBeGreaterThan(10_000);
    expect(await blobsOf(device)).not.toContain(stray);
    expect(await collect(device)).toMatchObject({ generations: [], blobs: [], bytes: 0 });
  });

  test("only says what would go when asked for no more", async () => {
    const device = await deviceWith(6);
    await litter(device);
    await writeFile(join(storeOf(device), ".partial-abc"), "x");
    const before = [await snapshot(device), await blobsOf(device), await listed(device)];
    const would = await collect(device, true);
    expect([await snapshot(device), await blobsOf(device), await listed(device)]).toEqual(before);
    const { dryRun: _, ...planned } = would;
    expect(planned.generations).toHaveLength(1);
    expect(await collect(device)).toMatchObject(planned);
  });
});

describe("leftovers", () => {
  test("of interrupted work go, and nothing else of the state does", async () => {
    const device = await deviceWith(1);
    const clean = await snapshot(device);
    const { state } = device.places;
    await mkdir(join(state, "generations/.9.tmp"));
    for (const name of [
      "oci/.partial-00",
      "oci/.index.json.00ff.tmp",
      ".idmaps.json.00ff.tmp",
      "generations/.9.tmp/x",
    ])
      await writeFile(join(state, name), "x");
    const { leftovers } = await collect(device);
    expect(leftovers).toHaveLength(4);
    expect(await snapshot(device)).toEqual(clean);
    expect((await readdir(storeOf(device))).filter((name) => name.startsWith(".partial"))).toEqual([]);
  });
});

describe("persistent volumes", () => {
  const volume = { label: "data", persistent: true, nsgroup: "db", size: 1 };
  const withVolume = (image: Image): Partial<InstallManifest> => ({
    storage: [volume],
    targets: [
      sampleTarget({
        ...{ digest: image.manifest.descriptor.digest, size: image.manifest.descriptor.size, nsgroup: "db" },
        storage: [{ label: "data", dest: "/data" }],
      }),
    ],
  });

  test.skipIf(process.getuid?.() !== 0)("stay, and so does the uid range of their owner", async () => {
    const device = await newDevice(signers);
    await apply(device, 1, withVolume(imageOf(1)));
    const directory = join(device.places.state, "volumes/data");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "precious"), "x");
    await chown(directory, 100_000, 100_000);
    for (let serial = 2; serial <= 7; serial++) await apply(device, serial);
    expect(await listGenerations(device.places)).not.toContain(1);
    expect((await collect(device)).groups).toEqual([]);
    expect(await readFile(join(directory, "precious"), "utf8")).toBe("x");
    // Somebody has removed it by hand.
    await rm(directory, { recursive: true });
    expect((await collect(device)).groups).toEqual(["db"]);
    expect(await readFile(join(device.places.state, "idmaps.json"), "utf8")).not.toContain("db");
  });
});

describe("networks and volumes in memory that nobody uses", () => {
  test("are removed by podman and systemd, outside the agent", async () => {
    const device = await deviceWith(1);
    await mkdir(device.networkDirectory);
    for (const name of ["mos-10.0.3.0-24", "podman", "other"])
      await writeFile(join(device.networkDirectory, `${name}.json`), "{}");
    await mkdir(join(device.places.run, "volumes/scratch"), { recursive: true });
    expect(await collect(device)).toMatchObject({ networks: ["mos-10.0.3.0-24"], volumes: ["scratch"] });
    expect(await readdir(join(device.places.run, "volumes"))).toEqual([]);
    expect("calls" in device.systemd ? device.systemd.calls : []).toContain(
      "run podman network rm -- mos-10.0.3.0-24",
    );
  });
});

describe("gc of a device that is not as it should be", () => {
  const codeOf = (work: Promise<unknown>) => work.then(() => "done").catch((error) => asMosError(error).code);

  test("does nothing while a transaction runs", async () => {
    const device = await deviceWith(1);
    await withLock(lockPath(device.places), "update", async () => {
      expect(await codeOf(collect(device))).toBe("busy");
    });
  });

  test("removes nothing when it cannot tell what runs", async () => {
    const device = await deviceWith(6);
    await litter(device);
    await rm(join(device.places.state, "current"));
    await writeFile(join(device.places.state, "current"), "7");
    const before = await snapshot(device);
    expect(await codeOf(collect(device))).toBe("state-invalid");
    await collectAfterCommit(device);
    expect(await snapshot(device)).toEqual(before);
  });

  test("keeps all images when one that runs cannot be read", async () => {
    const device = await deviceWith(6);
    await litter(device);
    const name = imageOf(6).manifest.descriptor.digest.slice("sha256:".length);
    await writeFile(join(storeOf(device), "blobs/sha256", name), "damaged");
    const before = await blobsOf(device);
    expect(await collect(device)).toMatchObject({ blockedBy: 6, generations: [], blobs: [] });
    expect(await blobsOf(device)).toEqual(before);
  });

  test("has nothing to do on a device to which nothing was applied", async () => {
    expect(await collect(await newDevice(signers))).toMatchObject({ kept: [], bytes: 0 });
  });
});
