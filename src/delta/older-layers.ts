// Which layers in the store a new one may be made from: those of the
// generation that runs, the ones of the same service first.
import type { InstallManifest } from "../manifest/schema.ts";
import type { Digest } from "../oci/digest.ts";
import type { Layout } from "../oci/layout.ts";
import { type Descriptor, limits, mediaTypes, parseManifest } from "../oci/model.ts";

/** What is fetched: a layer of an image of a service. */
export interface WantedLayer {
  readonly layer: Descriptor;
  readonly service: string;
  /** Digest of the image's manifest, whose referrers patches are. */
  readonly image: Digest;
}

/**
 * The layers of a manifest's images that are in the store, by service.
 * @param targets of the generation that runs
 */
export async function layersInStore(
  store: Layout,
  targets: InstallManifest["targets"],
): Promise<ReadonlyMap<string, readonly Descriptor[]>> {
  const found = new Map<string, readonly Descriptor[]>();
  for (const { service_name, digest, size } of targets) {
    const document = { mediaType: mediaTypes.manifest, digest, size };
    // An image that is not whole has nothing to give; it is mended by what mends the store.
    const bytes = await store.smallBlob(document, limits.manifest).catch(() => undefined);
    if (bytes === undefined) continue;
    const there: Descriptor[] = [];
    for (const layer of parseManifest(bytes, digest).layers) {
      if (await store.hasBlob(layer)) there.push(layer);
    }
    found.set(service_name, there);
  }
  return found;
}

/** Older layers for one new layer: each once, those of the same service first. */
export function olderLayersFor(
  { service, layer }: WantedLayer,
  inStore: ReadonlyMap<string, readonly Descriptor[]>,
): Descriptor[] {
  const all = [...(inStore.get(service) ?? []), ...[...inStore.values()].flat()];
  const distinct = new Map(all.map((older) => [older.digest, older]));
  distinct.delete(layer.digest);
  return [...distinct.values()];
}
