// mosctl diff: what is different between two generations on the disk.
import { MosError } from "../errors/mos-error.ts";
import { listGenerations, pointedGeneration, readGeneration } from "../generation/generations.ts";
import { compareManifests, type ManifestComparison } from "../generation/manifest-diff.ts";
import { storePath } from "../generation/places.ts";
import { storedManifest } from "../generation/stored-manifest.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Digest } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { limits, mediaTypes, parseManifest } from "../oci/model.ts";
import type { AgentContext } from "./context.ts";

/** Layers of a generation's images. */
interface LayerTotals {
  readonly layers: number;
  readonly bytes: number;
}

export interface GenerationDiff extends ManifestComparison {
  readonly from: number;
  readonly to: number;
  /** Layers that both have, and that only one has; absent when the store has not all that says so. */
  readonly layers?: {
    readonly shared: LayerTotals;
    readonly added: LayerTotals;
    readonly removed: LayerTotals;
  };
}

async function layersOf(store: Layout, { targets }: InstallManifest): Promise<Map<Digest, number>> {
  const layers = new Map<Digest, number>();
  for (const { digest, size, service_name } of targets) {
    const descriptor = { mediaType: mediaTypes.manifest, digest, size };
    const bytes = await store.smallBlob(descriptor, limits.manifest);
    for (const layer of parseManifest(bytes, `image of ${service_name}`).layers)
      layers.set(layer.digest, layer.size);
  }
  return layers;
}

function totals(layers: ReadonlyMap<Digest, number>, wanted: (digest: Digest) => boolean): LayerTotals {
  const sizes = [...layers].flatMap(([digest, size]) => (wanted(digest) ? [size] : []));
  return { layers: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

async function compareLayers(
  { places }: AgentContext,
  before: InstallManifest,
  after: InstallManifest,
): Promise<GenerationDiff["layers"]> {
  try {
    const store = await Layout.open(storePath(places));
    const [was, is] = await Promise.all([layersOf(store, before), layersOf(store, after)]);
    return {
      shared: totals(is, (digest) => was.has(digest)),
      added: totals(is, (digest) => !was.has(digest)),
      removed: totals(was, (digest) => !is.has(digest)),
    };
  } catch (error) {
    // An older generation may have lost its images; its manifest still says what it was.
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

/** The generation that is wanted, or the one that a pointer names. */
async function chosen(
  { places }: AgentContext,
  wanted: number | undefined,
  pointer: "current" | "previous",
): Promise<number> {
  const number = wanted ?? (await pointedGeneration(places, pointer));
  if (number === undefined) {
    throw new MosError("generation-unknown", `cannot compare: there is no ${pointer} generation`);
  }
  if ((await listGenerations(places)).includes(number)) return number;
  throw new MosError("generation-unknown", `cannot compare generation ${number}: it is not on this device`, {
    about: `generation ${number}`,
    hint: "mosctl history lists the generations.",
  });
}

/**
 * Compares two generations.
 * @param from undefined for the one that ran before the current one
 * @param to undefined for the current one
 * @throws MosError `generation-unknown`, `state-invalid`, `manifest-refused`, `document-invalid`
 */
export async function diff(
  context: AgentContext,
  from: number | undefined,
  to: number | undefined,
): Promise<GenerationDiff> {
  const numbers = [await chosen(context, from, "previous"), await chosen(context, to, "current")] as const;
  const read = async (number: number) => storedManifest(await readGeneration(context.places, number));
  const [before, after] = await Promise.all([read(numbers[0]), read(numbers[1])]);
  const layers = await compareLayers(context, before, after);
  return {
    ...{ from: numbers[0], to: numbers[1], ...compareManifests(before, after) },
    ...(layers === undefined ? {} : { layers }),
  };
}
