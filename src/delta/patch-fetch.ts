// The device's side of patches: which of those that are published leads from a layer that is here to the one that is
// wanted, and its bytes as a source that the store can take.
import type { Digest } from "../oci/digest.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import type { WantedLayer } from "./older-layers.ts";
import { applyPatch } from "./patch-apply.ts";
import { type PatchInfo, patchArtifactType, patchInfoOf, readPatchArtifact } from "./patch-artifact.ts";

/** A patch that can be applied here. */
interface Patch {
  readonly blob: Descriptor;
  readonly info: PatchInfo;
  /** The layer that it leads from, as this device knows it. */
  readonly from: Descriptor;
}

/** Lists of referrers by image, for as long as a repository is used: an image has more layers than one. */
const lists = new WeakMap<Repository, Map<Digest, Promise<readonly Descriptor[]>>>();

async function referrersOnce(images: Repository, image: Digest): Promise<readonly Descriptor[]> {
  const known = lists.get(images) ?? new Map<Digest, Promise<readonly Descriptor[]>>();
  lists.set(images, known);
  const list = known.get(image) ?? images.referrers(image);
  known.set(image, list);
  return await list;
}

/**
 * The smallest patch to a layer from one of the older ones.
 * @returns undefined when none is published
 * @throws MosError of fetching, `document-invalid`
 */
export async function findPatch(
  images: Repository,
  { layer, image }: WantedLayer,
  olderLayers: readonly Descriptor[],
): Promise<Patch | undefined> {
  let best:
    | { readonly manifest: Descriptor; readonly info: PatchInfo; readonly from: Descriptor }
    | undefined;
  for (const manifest of await referrersOnce(images, image)) {
    if (manifest.artifactType !== patchArtifactType) continue;
    const info = patchInfoOf(manifest.annotations);
    if (info === undefined || info.to.digest !== layer.digest || info.to.size !== layer.size) continue;
    const from = olderLayers.find(
      ({ digest, size }) => digest === info.from.digest && size === info.from.size,
    );
    if (from === undefined || info.size >= (best?.info.size ?? layer.size)) continue;
    best = { manifest, info, from };
  }
  if (best === undefined) return undefined;
  const { manifest, info, from } = best;
  const { bytes } = await images.manifest(manifest.digest);
  return { info, from, blob: readPatchArtifact(bytes, image, info, `${images.name}@${manifest.digest}`) };
}

/** The new layer, made while the patch arrives. To begin at an offset the patch is read from its start again. */
export function patchSource(
  store: Layout,
  images: Pick<Repository, "name" | "blob">,
  { blob, info, from }: Patch,
): Pick<Repository, "name" | "blob"> {
  return {
    name: `${images.name}@${blob.digest}`,
    blob: async function* (_, offset = 0) {
      let skip = offset;
      const pieces = applyPatch({
        patch: images.blob(blob),
        about: blob.digest,
        fromPath: store.blobPath(from.digest),
        ...{ from, to: info.to },
      });
      for await (const piece of pieces) {
        if (skip < piece.length) yield piece.subarray(skip);
        skip = Math.max(0, skip - piece.length);
      }
    },
  };
}
