// Patches as mosb publishes them, and as a device that has the older release uses them.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fetchDocuments, fetchLayers, missingLayers } from "../../src/agent/fetch.ts";
import { openSource } from "../../src/agent/fetch-source.ts";
import { fetchCandidates } from "../../src/agent/signed-manifest.ts";
import { parseInstallManifest } from "../../src/manifest/install-json.ts";
import { parseManifest } from "../../src/oci/model.ts";
import type { Published } from "../../src/publish/publish.ts";
import type { Project } from "../../src/trust/keyset.ts";
import { noise, temporaryDirectory } from "../support.ts";
import { make } from "../unit/trust/authority.ts";
import { fetchLayer, makeVersion, storeWith } from "./delta-fixture.ts";
import { registryAt } from "./delta-images.ts";
import { contextIn } from "./device-fixture.ts";
import {
  layoutDestination,
  makeRoot,
  packedTarget,
  projectOf,
  publishTarget,
  registryContent,
  registryDestination,
} from "./publish-fixture.ts";
import { startRegistry } from "./registry-fixture.ts";

let registry: Awaited<ReturnType<typeof startRegistry>>;
let project: Project;
beforeAll(async () => {
  registry = await startRegistry();
  project = projectOf(await make({ issuer: await make({ ca: true }) }));
});
afterAll(() => registry.stop());

async function directoryOf(text: string): Promise<string> {
  const directory = await temporaryDirectory();
  const root = join(directory, "root");
  await makeRoot(root, "a program");
  await makeVersion(root, { changing: Buffer.concat([noise("s", 90_000), Buffer.from(text)]) });
  return directory;
}

async function publish(text: string, name: string, patchFrom: readonly string[] = []): Promise<Published> {
  const destination = registryDestination(registry.authority, name);
  return await publishTarget({
    ...{ project, directory: await directoryOf(text), target: packedTarget, destination, patchFrom },
  });
}

describe("publishing with an older publication", () => {
  test("sends a patch that a device with the older layer takes", async () => {
    const older = await publish("one", "machine/one:1");
    const newer = await publish("two", "machine/two:1", [`${registry.authority}/machine/one:1`]);
    expect(newer.patches).toMatchObject([{ service: "web" }]);
    const images = registryAt(registry.authority);
    const [from, to] = await Promise.all(
      [older, newer].map(async ({ targets: [target] }) => {
        const { bytes, ...image } = await images.manifest(target?.digest ?? "");
        return { layer: parseManifest(bytes, "image").layers[0], image };
      }),
    );
    if (from?.layer === undefined || to?.layer === undefined) throw new Error("no layer");
    const store = await storeWith();
    await store.storeBlob(from.layer, images);
    expect(await fetchLayer(store, images, to.layer, to.image, [from.layer])).toEqual({
      ...{ way: "patch", fetchedBytes: newer.patches[0]?.bytes },
    });
  });

  test("makes no patch again, and leaves everything as it was", async () => {
    await publish("three", "machine/three:1");
    const again = () => publish("four", "machine/four:1", [`${registry.authority}/machine/three:1`]);
    expect((await again()).patches.length).toBe(1);
    const before = await registryContent(registry.authority);
    expect(await again()).toMatchObject({ outcome: "unchanged", patches: [] });
    expect(await registryContent(registry.authority)).toEqual(before);
  });

  test("that has the same layer makes no patch", async () => {
    await publish("five", "machine/five:1");
    expect(
      (await publish("five", "machine/six:1", [`${registry.authority}/machine/five:1`])).patches,
    ).toEqual([]);
  });

  test("that is not there is told before anything is sent", async () => {
    const before = await registryContent(registry.authority);
    const published = publish("seven", "machine/seven:1", [`${registry.authority}/machine/none:1`]);
    await expect(published).rejects.toMatchObject({ code: "not-found" });
    expect(await registryContent(registry.authority)).toEqual(before);
  });

  test("works for a layout on disk, from a layout on disk", async () => {
    const place = await temporaryDirectory();
    const [one, two] = [join(place, "one"), join(place, "two")];
    const send = async (text: string, to: string, patchFrom: readonly string[] = []) =>
      await publishTarget({
        ...{ project, directory: await directoryOf(text), target: packedTarget, patchFrom },
        destination: layoutDestination(to),
      });
    await send("eight", one);
    expect((await send("nine", two, [`oci:${one}:1`])).patches.length).toBe(1);
  });
});

test("an update fetches the difference, and says how many bytes that were", async () => {
  const device = contextIn(await temporaryDirectory());
  await mkdir(device.places.state, { recursive: true });
  const published = async (name: string) => {
    const source = await openSource(device, `${registry.authority}/machine/${name}:1`);
    const { manifest } = await fetchCandidates(source.install, source.reference);
    return { source, manifest: parseInstallManifest(manifest) };
  };
  await publish("ten", "machine/ten:1");
  await publish("eleven", "machine/eleven:1", [`${registry.authority}/machine/ten:1`]);
  const store = await storeWith();
  const bytes: number[] = [];
  let running: Awaited<ReturnType<typeof published>>["manifest"] | undefined;
  for (const name of ["ten", "eleven"]) {
    const { source, manifest } = await published(name);
    const missing = await missingLayers(store, await fetchDocuments(store, source, manifest));
    bytes.push(await fetchLayers(device, { store, source, missing, running }, () => undefined));
    running = manifest;
  }
  const [whole = 0, difference = 0] = bytes;
  expect(whole).toBeGreaterThan(2_000_000);
  expect(difference).toBeGreaterThan(0);
  expect(difference).toBeLessThan(0.01 * whole);
});
