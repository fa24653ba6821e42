// One layer into the store, with as few bytes from outside as there is a way: a patch that was published from a layer
// that is here, the blocks that no layer here has, or all of it. Whatever the way, the store takes it as it takes any
// download: hashed whole, and only under its own digest. So nothing here is trusted, and anything that goes wrong on
// the first two ways leads to the next.
import { MosError } from "../errors/mos-error.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import { planBlocks } from "./block-plan.ts";
import { readByBlocks } from "./block-source.ts";
import { CountedBlobs } from "./counted.ts";
import type { WantedLayer } from "./older-layers.ts";

/** A smaller layer is fetched sooner than its tree. */
const minLayerBytes = 256 * 1024;

/** Of a layer, the part that may have to be fetched in blocks; with more, one request for all of it is better. */
const maxFetchedPart = 0.7;

/** Older layers are hashed up to so many times the size of the new one: more is seldom found there. */
const searchedTimes = 8;

export interface DeltaResult {
  /** Bytes of blobs that were received, also on ways that led nowhere. */
  readonly fetchedBytes: number;
  readonly way: "patch" | "blocks" | "whole";
}

export interface DeltaInput {
  readonly store: Layout;
  readonly images: Repository;
  readonly wanted: WantedLayer;
  /** Layers in the store, the likeliest first: those of the same service. */
  readonly olderLayers: readonly Descriptor[];
  /** Told how many bytes of the layer are in the store. */
  readonly onBytes: (done: number) => void;
}

/** Errors that the next way would meet too. */
const final: ReadonlySet<string> = new Set(["no-space", "busy", "permission-denied", "io-failed"]);

/**
 * Fetches a layer that the store does not have.
 * @throws MosError of fetching it whole, or `no-space`, `busy`, `permission-denied`, `io-failed` at once
 */
export async function fetchByDelta(input: DeltaInput): Promise<DeltaResult> {
  const counted = new CountedBlobs(input.images);
  const way = (await tryWay(() => byBlocks(input, counted))) ? "blocks" : "whole";
  if (way === "whole") await input.store.storeBlob(input.wanted.layer, counted, input.onBytes);
  return { way, fetchedBytes: counted.bytes };
}

/** Whether a way led to the end. */
async function tryWay(way: () => Promise<boolean>): Promise<boolean> {
  try {
    return await way();
  } catch (error) {
    if (error instanceof MosError && !final.has(error.code)) return false;
    throw error;
  }
}

async function byBlocks(
  { store, images, wanted: { layer }, olderLayers, onBytes }: DeltaInput,
  counted: CountedBlobs,
): Promise<boolean> {
  const searched = within(olderLayers, searchedTimes * layer.size);
  if (layer.size < minLayerBytes || searched.length === 0) return false;
  const plan = await planBlocks(store, counted, layer, searched);
  if (plan.fetchedBytes > maxFetchedPart * layer.size) return false;
  const source = {
    name: images.name,
    blob: (_: Descriptor, offset = 0) =>
      readByBlocks({ store, images: counted, olderLayers: searched }, layer, plan, offset),
  };
  await store.storeBlob(layer, source, onBytes);
  return true;
}

/** The first layers that have so many bytes together. */
function within(layers: readonly Descriptor[], bytes: number): Descriptor[] {
  let left = bytes;
  return layers.filter(({ size }) => {
    left -= size;
    return left >= 0;
  });
}
