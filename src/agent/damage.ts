// Layers in the store that are no longer what their digest says: the disk is damaged, or somebody altered it.
// Looked for where something points to it (dm-verity saw a bad block, a unit failed, a superblock does not fit), so
// that a sound device is not made to read all of its layers; and in a root that the device is to be started from.
import type { WantedLayer } from "../delta/older-layers.ts";
import { MosError } from "../errors/mos-error.ts";
import { inspectLayer } from "../layers/inspect.ts";
import { rootHashOf } from "../layers/media-type.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import { layerDevice, layerMount, layerUnit } from "../services/unit-names.ts";
import { discard } from "../system/atomic-file.ts";
import { mountUnitName } from "../systemd/escape.ts";
import type { ServiceManager } from "../systemd/manager.ts";
import type { AgentContext } from "./context.ts";
import type { LoadedGeneration } from "./load.ts";
import { actualDigest, verityStates } from "./observe.ts";
import { startedSystem } from "./started.ts";

/** Units of a layer's use that are in a failed state. */
async function failedUnits(systemd: ServiceManager, names: readonly string[]): Promise<ReadonlySet<string>> {
  const shown = await systemd.showUnits(names, ["Id", "ActiveState"]).catch(() => []);
  return new Set(shown.flatMap((unit) => (unit["ActiveState"] === "failed" ? [unit["Id"] ?? ""] : [])));
}

async function isSuspect(store: Layout, layer: Descriptor, broken: ReadonlySet<string>): Promise<boolean> {
  if (broken.has(layer.digest)) return true;
  try {
    await inspectLayer(store.blobPath(layer.digest), layer);
    return false;
  } catch (error) {
    if (error instanceof MosError) return true;
    throw error;
  }
}

/** Digests of layers of the running generation that the kernel or systemd had trouble with. */
async function troubled(
  running: LoadedGeneration,
  { places, systemd }: AgentContext,
): Promise<ReadonlySet<string>> {
  const verity = await verityStates();
  const uses = running.images.flatMap((image) =>
    image.layers.map(({ rootHash }, i) => ({
      digest: image.digests[i] ?? "",
      device: layerDevice(rootHash),
      units: [layerUnit(rootHash), mountUnitName(layerMount(places, rootHash, image.target.nsgroup))],
    })),
  );
  const failed = await failedUnits(systemd, [...new Set(uses.flatMap(({ units }) => units))]);
  const bad = uses.filter(
    ({ device, units }) => verity.get(device) === "corrupt" || units.some((unit) => failed.has(unit)),
  );
  return new Set(bad.map(({ digest }) => digest));
}

/** Removes a small document from the store when it is damaged; it is read whole each time. */
export async function dropDamagedDocument(store: Layout, document: Descriptor): Promise<void> {
  if (!(await store.hasBlob(document))) return;
  const path = store.blobPath(document.digest);
  if ((await actualDigest(path)) !== document.digest) await discard(path);
}

/**
 * Layers of a root that the device is to be started from, and that do not run now: nothing has read them since they
 * were fetched, and nothing will before a start that needs all of them.
 */
async function startedNext(
  context: AgentContext,
  manifest: InstallManifest,
  layers: readonly WantedLayer[],
): Promise<readonly string[]> {
  const root = manifest.targets.find(({ service_type }) => service_type === "hostfs");
  const started = root === undefined ? undefined : await startedSystem(context);
  if (started === undefined) return [];
  const ofRoot = layers.filter(({ image }) => image === root?.digest).map(({ layer }) => layer);
  const runs = new Set(started.root.rootHashes);
  return ofRoot.filter((layer) => !runs.has(rootHashOf(layer))).map(({ digest }) => digest);
}

/**
 * Removes layers from the store that are damaged, so that they are fetched again.
 * @param manifest what they are for
 * @returns their root hashes
 */
export async function dropDamagedLayers(
  context: AgentContext,
  store: Layout,
  {
    manifest,
    layers,
    running,
  }: {
    readonly manifest: InstallManifest;
    readonly layers: readonly WantedLayer[];
    readonly running: LoadedGeneration | undefined;
  },
): Promise<ReadonlySet<string>> {
  const broken = new Set(running === undefined ? [] : await troubled(running, context));
  for (const digest of await startedNext(context, manifest, layers)) broken.add(digest);
  const dropped = new Set<string>();
  for (const { layer } of layers) {
    if (!(await store.hasBlob(layer)) || !(await isSuspect(store, layer, broken))) continue;
    const path = store.blobPath(layer.digest);
    if ((await actualDigest(path)) === layer.digest) continue;
    await discard(path);
    dropped.add(rootHashOf(layer));
  }
  return dropped;
}
