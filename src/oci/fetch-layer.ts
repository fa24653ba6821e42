// One layer into the store, by whatever way.
import { MosError } from "../errors/mos-error.ts";
import type { Layout } from "./layout.ts";
import type { Descriptor } from "./model.ts";
import type { Repository } from "./source.ts";

/**
 * Fetches a layer that the store does not have; what an interrupted attempt left is continued.
 * @param onBytes told how many bytes of the layer are there
 * @throws MosError `digest-mismatch` or `size-mismatch` when no source has the right bytes; `no-space`, `busy`,
 *   `registry-*`, `not-found`
 */
export async function fetchLayer(
  store: Layout,
  images: Pick<Repository, "name" | "blob" | "distrust">,
  layer: Descriptor,
  onBytes: (done: number) => void,
): Promise<void> {
  for (;;) {
    try {
      return await store.storeBlob(layer, images, onBytes);
    } catch (error) {
      // A mirror may have sent something else: then the others are asked, each of them once.
      const isOther =
        error instanceof MosError && (error.code === "digest-mismatch" || error.code === "size-mismatch");
      if (!isOther || images.distrust?.(layer) !== true) throw error;
    }
  }
}
