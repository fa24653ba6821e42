// One layer into the store, with as few bytes from outside as there is a way: a patch that was published from a layer
// that is here, the blocks that no layer here has, or all of it. Whatever the way, the store takes it as it takes any
// download: hashed whole, and only under its own digest. So nothing here is trusted, and anything that goes wrong on
// the first two ways leads to the next.
import { asMosError } from "../errors/mos-error.ts";
import { fetchLayer } from "../oci/fetch-layer.ts";
import type { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";
import { planBlocks, treeBytesOf } from "./block-plan.ts";
import { readByBlocks } from "./block-source.ts";
import { CountedBlobs } from "./counted.ts";
import type { WantedLayer } from "./older-layers.ts";
import { findPatch, patchSource } from "./patch-fetch.ts";

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

/** A patch of so many times the size of the layer's verity tree is applied without asking what blocks would cost. */
const smallPatchTrees = 4;

/** Errors that the next way would meet too. */
const final: ReadonlySet<string> = new Set(["no-space", "busy", "permission-denied", "io-failed"]);

/**
 * Fetches a layer that the store does not have.
 * @throws MosError of fetching it whole, or `no-space`, `busy`, `permission-denied`, `io-failed` at once
 */
export async function fetchByDelta(input: DeltaInput): Promise<DeltaResult> {
  const { store, wanted, onBytes } = input;
  const { layer } = wanted;
  const counted = new CountedBlobs(input.images);
  const finish = (way: DeltaResult["way"]): DeltaResult => ({ way, fetchedBytes: counted.bytes });
  const olderLayers = within(input.olderLayers, searchedTimes * layer.size);
  if (layer.size >= minLayerBytes && olderLayers.length > 0) {
    const patch = await attempt(() => findPatch(input.images, wanted, olderLayers));
    const byPatch = async (): Promise<boolean> => {
      if (patch === undefined) return false;
      await store.storeBlob(layer, patchSource(store, counted, patch), onBytes);
      return true;
    };
    // The tree alone is more than most patches: it is not fetched only to see what blocks would cost.
    const isSmall = patch !== undefined && patch.blob.size <= smallPatchTrees * treeBytesOf(layer);
    if (isSmall && (await attempt(() => inTurn(byPatch)))) return finish("patch");
    const plan = await attempt(() => planBlocks(store, counted, layer, olderLayers));
    const isSmaller = patch !== undefined && (plan === undefined || patch.blob.size < plan.fetchedBytes);
    if (!isSmall && isSmaller && (await attempt(() => inTurn(byPatch)))) return finish("patch");
    if (plan !== undefined && plan.fetchedBytes <= maxFetchedPart * layer.size) {
      const byBlocks = async (): Promise<boolean> => {
        const source = {
          name: counted.name,
          blob: (_: Descriptor, offset = 0) =>
            readByBlocks({ store, images: counted, olderLayers }, layer, plan, offset),
        };
        await store.storeBlob(layer, source, onBytes);
        return true;
      };
      if (await attempt(byBlocks)) return finish("blocks");
    }
  }
  await fetchLayer(store, counted, layer, onBytes);
  return finish("whole");
}

let turn: Promise<unknown> = Promise.resolve();

/** Layers are fetched several at a time, but a patch takes memory: one is applied after the other. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = turn.then(work);
  turn = result.catch(() => undefined);
  return await result;
}

/** What a way led to; undefined when it led nowhere, whatever the reason: another may. */
async function attempt<T>(way: () => Promise<T>): Promise<T | undefined> {
  try {
    return await way();
  } catch (error) {
    const known = asMosError(error);
    if (final.has(known.code)) throw known;
    return undefined;
  }
}

/** The first layers that have so many bytes together. */
function within(layers: readonly Descriptor[], bytes: number): Descriptor[] {
  let left = bytes;
  return layers.filter(({ size }) => {
    left -= size;
    return left >= 0;
  });
}
