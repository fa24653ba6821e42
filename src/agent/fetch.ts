// What an update fetches: the documents of every image, then the layers that the device does not have, a few at a
// time. All of it goes to the store, which is content-addressed: what an interrupted update left there is used by the
// next.
import type { InstallManifest } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import { type Descriptor, mediaTypes } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import { inParallel } from "../system/parallel.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedDocument } from "./damage.ts";
import { fetchLayer } from "./fetch-layer.ts";
import type { FetchSource } from "./fetch-source.ts";
import { checkRoom, RoomWatch } from "./free-space.ts";
import { fetchImageDocuments, type ImageDocuments } from "./image-documents.ts";
import type { Progress } from "./progress.ts";

/**
 * Fetches the image manifest and configuration of every target, unless the store has them; small, and verified by
 * their digests.
 * @returns the layers that they name
 * @throws MosError `size-mismatch`, `digest-mismatch`, `document-invalid`, and what fetching throws
 */
export async function fetchDocuments(
  store: Layout,
  source: FetchSource,
  manifest: InstallManifest,
): Promise<readonly Descriptor[]> {
  const from = async (document: Descriptor): Promise<Repository> => {
    await dropDamagedDocument(store, document);
    return (await store.hasBlob(document)) ? store : source.images;
  };
  // Targets may share an image, which is fetched once.
  const targets = new Map(manifest.targets.map((target) => [target.digest, target]));
  const documents: ImageDocuments[] = [];
  await inParallel(
    [...targets.values()],
    source.parallel,
    async (target) => {
      documents.push(await fetchImageDocuments(from, target));
    },
    source.stop,
  );
  const layers = new Map<string, Descriptor>();
  // One after the other: images may share a configuration, and the store takes each blob from one writer at a time.
  for (const { fetched, image, config } of documents) {
    for (const layer of image.layers) layers.set(layer.digest, layer);
    await store.putBlob(image.config, async function* () {
      yield config;
    });
    await store.putManifest(fetched.bytes, mediaTypes.manifest);
  }
  return [...layers.values()];
}

/** Which of these layers the store does not have. */
export async function missingLayers(store: Layout, layers: readonly Descriptor[]): Promise<Descriptor[]> {
  const missing: Descriptor[] = [];
  for (const layer of layers) if (!(await store.hasBlob(layer))) missing.push(layer);
  return missing;
}

/**
 * Before the first layer is fetched. What an interrupted update left of a layer is there already.
 * @throws MosError `no-space` when the layers do not fit beside what the system needs to go on working
 */
export async function checkSpace(
  { places }: AgentContext,
  store: Layout,
  missing: readonly Descriptor[],
): Promise<void> {
  if (missing.length === 0) return;
  const bytes = sumOf(missing.map((layer) => layer.size - store.partialBytes(layer)));
  await checkRoom(places.state, { bytes, files: missing.length });
}

/**
 * Fetches layers into the store, each verified by its digest. The first failure stops all of them, and so does a
 * filesystem that somebody else fills; what has come so far is kept for the next attempt.
 * @returns bytes of all of them
 * @throws MosError `no-space`, and what {@link fetchLayer} throws
 */
export async function fetchLayers(
  { places }: AgentContext,
  store: Layout,
  source: FetchSource,
  missing: readonly Descriptor[],
  progress: Progress,
): Promise<number> {
  const total = sumOf(missing.map(({ size }) => size));
  const done = new Map<string, number>();
  const room = new RoomWatch(places.state, source.stop);
  const fetchOne = async (layer: Descriptor): Promise<void> => {
    await room.check();
    await fetchLayer(store, source.images, layer, (bytes) => {
      source.signal.throwIfAborted();
      room.glance();
      done.set(layer.digest, bytes);
      progress({ kind: "bytes", done: sumOf(done.values()), total });
    });
  };
  await inParallel(missing, source.parallel, fetchOne, source.stop).catch((error: unknown) => {
    // The room's failure comes to light as that of a download that was stopped because of it.
    throw source.stoppedBy() ?? error;
  });
  return total;
}

function sumOf(numbers: Iterable<number>): number {
  let sum = 0;
  for (const one of numbers) sum += one;
  return sum;
}
