// What an update fetches: the documents of every image, then the layers that the device does not have, a few at a
// time. All of it goes to the store, which is content-addressed: what an interrupted update left there is used by the
// next.
import type { WantedLayer } from "../delta/older-layers.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import { type Descriptor, mediaTypes } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import { inParallel } from "../system/parallel.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedDocument } from "./damage.ts";
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
): Promise<readonly WantedLayer[]> {
  const from = async (document: Descriptor): Promise<Repository> => {
    await dropDamagedDocument(store, document);
    return (await store.hasBlob(document)) ? store : source.images;
  };
  // Targets may share an image, which is fetched once.
  const targets = new Map(manifest.targets.map((target) => [target.digest, target]));
  const documents: { readonly target: Target; readonly image: ImageDocuments }[] = [];
  await inParallel(
    [...targets.values()],
    source.parallel,
    async (target) => {
      documents.push({ target, image: await fetchImageDocuments(from, target) });
    },
    source.stop,
  );
  const layers = new Map<string, WantedLayer>();
  // One after the other: images may share a configuration, and the store takes each blob from one writer at a time.
  for (const { target, image: documented } of documents) {
    const { fetched, image, config } = documented;
    for (const layer of image.layers) {
      layers.set(layer.digest, { layer, service: target.service_name, image: target.digest });
    }
    await store.putBlob(image.config, async function* () {
      yield config;
    });
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
 * Before the first layer is fetched. What an interrupted update left of a layer is there already.
 * @throws MosError `no-space` when the layers do not fit beside what the system needs to go on working
 */
export async function checkSpace(
  { places }: AgentContext,
  store: Layout,
  missing: readonly WantedLayer[],
): Promise<void> {
  if (missing.length === 0) return;
  const bytes = sumOf(missing.map(({ layer }) => layer.size - store.partialBytes(layer)));
  await checkRoom(places.state, { bytes, files: missing.length });
}

/** What is fetched, from where and to where. */
interface Fetching {
  readonly store: Layout;
  readonly source: FetchSource;
  readonly missing: readonly WantedLayer[];
  /** The manifest that runs, whose layers the new ones may be made from. */
  readonly running: InstallManifest | undefined;
}

/**
 * Fetches layers into the store, each verified by its digest. The first failure stops all of them, and so does a
 * filesystem that somebody else fills; what has come so far is kept for the next attempt.
 * @returns bytes that were transferred
 * @throws MosError `no-space`, and what fetchByDelta() throws
 */
export async function fetchLayers(
  { places }: AgentContext,
  { store, source, missing, running }: Fetching,
  progress: Progress,
): Promise<number> {
  if (missing.length === 0) return 0;
  const [{ fetchByDelta }, { layersInStore, olderLayersFor }] = await Promise.all([
    import("../delta/fetch-by-delta.ts"),
    import("../delta/older-layers.ts"),
  ]);
  const inStore = await layersInStore(store, running?.targets ?? []);
  const total = sumOf(missing.map(({ layer }) => layer.size));
  const done = new Map<string, number>();
  let fetchedBytes = 0;
  const room = new RoomWatch(places.state, source.stop);
  const fetchOne = async (wanted: WantedLayer): Promise<void> => {
    await room.check();
    const fetched = await fetchByDelta({
      ...{ store, images: source.images, wanted, olderLayers: olderLayersFor(wanted, inStore) },
      onBytes: (bytes) => {
        source.signal.throwIfAborted();
        room.glance();
        done.set(wanted.layer.digest, bytes);
        progress({ kind: "bytes", done: sumOf(done.values()), total });
      },
    });
    fetchedBytes += fetched.fetchedBytes;
  };
  await inParallel(missing, source.parallel, fetchOne, source.stop).catch((error: unknown) => {
    // The room's failure comes to light as that of a download that was stopped because of it.
    throw source.stoppedBy() ?? error;
  });
  return fetchedBytes;
}

function sumOf(numbers: Iterable<number>): number {
  return [...numbers].reduce((sum, number) => sum + number, 0);
}
