// F14: a newer mos has run on this device, and the root that has it did not hold: the older one finds state that it
// does not know. It runs what it can verify, says why, and lets nothing go that the newer one has written.
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { boot } from "../../src/agent/boot.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import { gc } from "../../src/agent/gc.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { listGenerations, pointedGeneration } from "../../src/generation/generations.ts";
import { readIdMaps } from "../../src/generation/idmaps.ts";
import { updateEnding } from "./device-fixture.ts";
import {
  goodParts,
  type Image,
  installManifest,
  published,
  runningDevice,
  type Signers,
  signedImage,
} from "./refusals-fixture.ts";

let signers: Signers;
let image: Image;
beforeAll(async () => {
  ({ signers, image } = await signedImage("newer"));
});

async function next(serial: number): Promise<string> {
  const installJson = installManifest(image, { product: "before", release: { serial, epoch: 0 } });
  return (await published(goodParts(signers, image, installJson))).reference;
}

/** A device with two generations. */
async function updatedDevice(): Promise<AgentContext> {
  const device = await runningDevice(signers, image);
  expect((await updateEnding(device, await next(2))).code).toBe("updated");
  return device;
}

/** The same document as a later version of mos might write it. */
async function writeByNewer(path: string): Promise<string> {
  const document: object = JSON.parse(await readFile(path, "utf8"));
  const text = JSON.stringify({ ...document, version: 2, somethingNew: { of: "then" } });
  await writeFile(path, text);
  return text;
}

async function starts(device: AgentContext) {
  await rm(device.places.run, { recursive: true, force: true });
  return (await boot(device)).outcome;
}

test("a generation that a newer mos has made: the one before runs, and the newer is kept as it is", async () => {
  const device = await updatedDevice();
  const path = join(device.places.state, "generations/2/generation.json");
  const written = await writeByNewer(path);
  const outcome = await starts(device);
  if (outcome.kind !== "applied" && outcome.kind !== "unchanged") expect.fail(outcome.kind);
  expect(outcome.generation).toBe(1);
  expect(outcome.damage.map(({ code }) => code)).toEqual(["state-newer"]);
  expect(outcome.damage[0]?.message).toContain("it has version 2, and this one knows version 1");
  await gc(device, { dryRun: false });
  expect(await readFile(path, "utf8")).toBe(written);
  // As it was before, the newer one takes over where it was.
  expect(await pointedGeneration(device.places, "current")).toBe(2);
});

test("an update by the older one goes on from what runs, under a number of its own", async () => {
  const device = await updatedDevice();
  await writeByNewer(join(device.places.state, "generations/2/generation.json"));
  expect((await updateEnding(device, await next(3))).code).toBe("updated");
  expect(await pointedGeneration(device.places, "current")).toBe(3);
  expect(await starts(device)).toMatchObject({ generation: 3, damage: [] });
  expect(await listGenerations(device.places)).toContain(3);
});

test("a transaction that a newer mos has begun: what was current runs", async () => {
  const device = await updatedDevice();
  const journal = join(device.places.state, "journal.json");
  await writeFile(journal, JSON.stringify({ version: 2, phase: "something new" }));
  const outcome = await starts(device);
  expect(outcome).toMatchObject({ generation: 2 });
});

test("uid ranges that a newer mos has given are not guessed, and not given anew", async () => {
  const device = await updatedDevice();
  const path = join(device.places.state, "idmaps.json");
  const written = await writeByNewer(path);
  const outcome = await starts(device);
  if (outcome.kind !== "refused") expect.fail(outcome.kind);
  expect(outcome.error.code).toBe("state-newer");
  expect((await updateEnding(device, await next(3))).code).toBe("state-newer");
  const error = asMosError(await readIdMaps(device.places).catch((reason: unknown) => reason));
  expect(error.code).toBe("state-newer");
  expect(await readFile(path, "utf8")).toBe(written);
});
