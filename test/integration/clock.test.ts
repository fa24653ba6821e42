// F09: the system's clock stands in 1970, because a battery is empty, or in 2100. A device starts what is installed
// whatever its clock says; what it fetches has to be valid now, where "now" is never before what was seen signed.
import { rm } from "node:fs/promises";
import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { boot } from "../../src/agent/boot.ts";
import type { AgentContext } from "../../src/agent/context.ts";
import { updateEnding } from "./device-fixture.ts";
import {
  expectRefused,
  goodParts,
  type Image,
  installManifest,
  newDevice,
  published,
  runningDevice,
  type Signers,
  signedImage,
} from "./refusals-fixture.ts";

let signers: Signers;
let image: Image;
beforeAll(async () => {
  ({ signers, image } = await signedImage("clock"));
});
afterEach(() => {
  vi.useRealTimers();
});

function itIs(date: string): void {
  vi.useFakeTimers({ now: new Date(date), toFake: ["Date"] });
}

async function next(serial: number): Promise<string> {
  const installJson = installManifest(image, { product: "before", release: { serial, epoch: 0 } });
  return (await published(goodParts(signers, image, installJson))).reference;
}

/** Starts the device anew. @returns whether everything of its generation is whole */
async function starts(device: AgentContext): Promise<boolean> {
  await rm(device.places.run, { recursive: true, force: true });
  await rm(device.unitDirectory, { recursive: true, force: true });
  await rm(device.quadletDirectory, { recursive: true, force: true });
  const { outcome } = await boot(device);
  return outcome.kind === "applied" && outcome.problems.length === 0 && outcome.damage.length === 0;
}

test.each(["1970-01-01T00:00:10Z", "2100-01-01T00:00:00Z"])(
  "what is installed starts at %s",
  async (date) => {
    const device = await runningDevice(signers, image);
    itIs(date);
    expect(await starts(device)).toBe(true);
  },
);

test("in 1970 a device that runs something takes an update, by the newest time that it has seen signed", async () => {
  const device = await runningDevice(signers, image);
  itIs("1970-01-01T00:00:10Z");
  expect((await updateEnding(device, await next(2))).code).toBe("updated");
  expect(await starts(device)).toBe(true);
});

test("in 1970 a first manifest is refused, and the error says whose clock it was", async () => {
  const device = await newDevice(signers);
  const reference = await next(1);
  itIs("1970-01-01T00:00:10Z");
  const { message } = await expectRefused(device, reference, "certificate-not-yet-valid");
  expect(message).toContain("1970");
});

test("in 2100 an update is refused, because its certificates have expired, and the device runs on", async () => {
  const device = await runningDevice(signers, image);
  itIs("2100-01-01T00:00:00Z");
  await expectRefused(device, await next(2), "certificate-expired");
  expect(await starts(device)).toBe(true);
});
