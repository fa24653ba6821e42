// A device on which nothing can be verified: where it looks for a release, and what it takes of what it finds.
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { AgentContext } from "../../src/agent/context.ts";
import { recover } from "../../src/agent/recovery.ts";
import { status } from "../../src/agent/status.ts";
import { update } from "../../src/agent/update.ts";
import { asMosError } from "../../src/errors/mos-error.ts";
import { generationPath } from "../../src/generation/places.ts";
import {
  flipped,
  goodParts,
  type Image,
  installManifest,
  makeSigners,
  published,
  runningDevice,
  type Signers,
  signedImage,
} from "./refusals-fixture.ts";

let signers: Signers;
let image: Image;
beforeAll(async () => {
  ({ signers, image } = await signedImage("recovery"));
});

/** A device whose only generation somebody has altered. */
async function refusedDevice(): Promise<AgentContext> {
  const device = await runningDevice(signers, image);
  const path = join(generationPath(device.places, 1), "install.json");
  await writeFile(path, flipped(await readFile(path)));
  expect((await status(device)).health).toBe("refused");
  return device;
}

/** A layout with a signed release, as `oci:` takes it with this tag. */
async function put(to: string, tag: string, by = signers, product = "before"): Promise<void> {
  const { directory } = await published(goodParts(by, image, installManifest(image, { product })));
  await mkdir(dirname(to), { recursive: true });
  await cp(directory, to, { recursive: true });
  const index = join(to, "index.json");
  await writeFile(index, (await readFile(index, "utf8")).replaceAll(/"1\.0\.0"/g, JSON.stringify(tag)));
}

const applied = (device: AgentContext) =>
  recover(device, ({ reference }) =>
    update(device, reference, { allowOlder: false, retry: true }, () => undefined),
  );

test("takes the release that came with its system, and says so no longer", async () => {
  const device = await refusedDevice();
  await put(device.recovery.factory, "factory");
  expect(await applied(device)).toMatchObject({ what: "the release that came with the system" });
  const { health, recovery } = await status(device);
  expect(health).not.toBe("refused");
  expect(recovery).toBeUndefined();
});

test("takes a medium that somebody attached before everything else", async () => {
  const device = await refusedDevice();
  await put(device.recovery.factory, "factory");
  await writeFile(device.recovery.device, "");
  await put(join(device.recovery.directory, "mos"), "recovery");
  expect((await applied(device)).what).toBe("the medium MOS-RECOVER");
});

test("asks its channel, where no medium is attached", async () => {
  const device = await refusedDevice();
  const { reference } = await published(
    goodParts(signers, image, installManifest(image, { product: "before" })),
  );
  const [path = ""] = device.updateSettings;
  await writeFile(path, JSON.stringify({ version: 1, channel: reference }), { mode: 0o644 });
  expect((await applied(device)).what).toBe("the channel");
});

test("takes nothing that a stranger has signed, and tells what it tried", async () => {
  const device = await refusedDevice();
  await put(device.recovery.factory, "factory", await makeSigners());
  await writeFile(device.recovery.device, "");
  await put(join(device.recovery.directory, "mos"), "recovery", await makeSigners());
  const error = await applied(device).then(() => undefined, asMosError);
  expect(error).toMatchObject({ code: "recovery-failed", exitCode: 5 });
  expect(error?.problems).toHaveLength(2);
  const { health, recovery } = await status(device);
  expect(health).toBe("refused");
  expect(recovery?.attempts).toMatchObject([
    { what: "the medium MOS-RECOVER", code: "chain-untrusted" },
    { what: "the release that came with the system", code: "chain-untrusted" },
  ]);
});

test("has nothing to try on a device that knows no place", async () => {
  const device = await refusedDevice();
  expect(await applied(device).then(() => undefined, asMosError)).toMatchObject({
    code: "recovery-failed",
    problems: [],
  });
  expect((await status(device)).recovery?.attempts).toEqual([]);
});
