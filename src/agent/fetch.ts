// What an update fetches: the documents of every image, then the layers that the device does not have. All of it goes
// to the store, which is content-addressed: what an interrupted update left there is used by the next.
import { statfs } from "node:fs/promises";
import type { WantedLayer } from "../delta/older-layers.ts";
import { MosError } from "../errors/mos-error.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import { mediaTypes } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import { formatBytes } from "../system/quantity.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedDocument } from "./damage.ts";
import { fetchImageDocuments } from "./image-documents.ts";
import type { Progress } from "./progress.ts";

/** Bytes left free on the state filesystem, so that the system itself can go on working. */
const reserveBytes = 16 * 1024 * 1024;

/**
 * Fetches the image manifest and configuration of every target; small, and verified by their digests.
 * @returns the layers that they name
 */
export async function fetchDocuments(
  store: Layout,
  images: Repository,
  manifest: InstallManifest,
): Promise<readonly WantedLayer[]> {
  const layers = new Map<string, WantedLayer>();
  for (const target of manifest.targets) {
    const { fetched, image } = await fetchImageDocuments(images, target);
    for (const layer of image.layers) {
      layers.set(layer.digest, { layer, service: target.service_name, image: target.digest });
    }
    const descriptor = { mediaType: mediaTypes.manifest, digest: target.digest, size: target.size };
    for (const document of [image.config, descriptor]) await dropDamagedDocument(store, document);
    await store.storeBlob(image.config, images);
    await store.putManifest(fetched.bytes, mediaTypes.manifest);
  }
  return [...layers.values()];
}

/** Which of these layers the store does not have. */
export async function missingLayers(store: Layout, layers: readonly WantedLayer[]): Promise<WantedLayer[]> {
  const missing: WantedLayer[] = [];
  for (const wanted of layers) if (!(await store.hasBlob(wanted.layer))) missing.push(wanted);
  return missing;
}

/**
 * Before the first byte is fetched.
 * @throws MosError `no-space` when the layers do not fit beside what the system needs to go on working
 */
export async function checkSpace({ places }: AgentContext, missing: readonly WantedLayer[]): Promise<void> {
  const needed = missing.reduce((sum, { layer }) => sum + layer.size, 0);
  if (needed === 0) return;
  const { bavail, bsize } = await statfs(places.state);
  const free = bavail * bsize;
  if (needed + reserveBytes <= free) return;
  throw new MosError(
    "no-space",
    `the images need ${formatBytes(needed)} more and ${formatBytes(reserveBytes)} must stay free, but ${places.state} has ${formatBytes(free)}`,
    {
      about: places.state,
      hint: `Free ${formatBytes(needed + reserveBytes - free)} on the filesystem of ${places.state}. Nothing was fetched.`,
    },
  );
}

/**
 * Fetches layers into the store, each verified by its digest.
 * @param running the manifest that runs, whose layers the new ones may be made from
 * @returns bytes that were transferred
 */
export async function fetchLayers(
  store: Layout,
  images: Repository,
  missing: readonly WantedLayer[],
  running: InstallManifest | undefined,
  progress: Progress,
): Promise<number> {
  if (missing.length === 0) return 0;
  const [{ fetchByDelta }, { layersInStore, olderLayersFor }] = await Promise.all([
    import("../delta/fetch-by-delta.ts"),
    import("../delta/older-layers.ts"),
  ]);
  const inStore = await layersInStore(store, running?.targets ?? []);
  const total = missing.reduce((sum, { layer }) => sum + layer.size, 0);
  let before = 0;
  let fetchedBytes = 0;
  for (const wanted of missing) {
    const base = before;
    const onBytes = (done: number): void => progress({ kind: "bytes", done: base + done, total });
    const olderLayers = olderLayersFor(wanted, inStore);
    const fetched = await fetchByDelta({ store, images, wanted, olderLayers, onBytes });
    fetchedBytes += fetched.fetchedBytes;
    before += wanted.layer.size;
  }
  return fetchedBytes;
}
