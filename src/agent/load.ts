// A generation from the disk, verified again: signature and chain of its manifest, and for each target that runs
// the digests that lead from the manifest to the root hash of every layer. No layer is read beyond a few blocks;
// dm-verity checks the rest when it is used.
import { asMosError, MosError } from "../errors/mos-error.ts";
import {
  type Generation,
  type GenerationRecord,
  pointedGeneration,
  readGeneration,
} from "../generation/generations.ts";
import { storePath } from "../generation/places.ts";
import { inspectLayer } from "../layers/inspect.ts";
import { rootHashOf } from "../layers/media-type.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { limits, mediaTypes, parseConfig, parseManifest } from "../oci/model.ts";
import type { Layer, ServiceImage } from "../services/model.ts";
import { isBootTarget } from "../services/render.ts";
import type { AgentContext } from "./context.ts";
import {
  type AcceptedManifest,
  acceptManifest,
  type CurrentRoot,
  type DeviceTrust,
  loadTrust,
  rootOfGeneration,
} from "./trust.ts";

/** A target whose image cannot be used, and why. The other services run on. */
export interface TargetProblem {
  readonly service: string;
  readonly error: MosError;
}

/** Layers of one target, each with the digest of its blob. */
export interface LoadedImage extends ServiceImage {
  readonly digests: readonly Digest[];
}

export interface LoadedGeneration {
  readonly number: number;
  readonly record: GenerationRecord;
  readonly trust: DeviceTrust;
  /** Whom the device trusts since this generation. */
  readonly current: CurrentRoot;
  readonly signers: AcceptedManifest["signers"];
  readonly manifest: InstallManifest;
  /** Digest of install.json. */
  readonly digest: Digest;
  readonly images: readonly LoadedImage[];
  readonly problems: readonly TargetProblem[];
}

/**
 * Loads and verifies the generation that runs.
 * @returns undefined when none was applied yet
 * @throws MosError whatever check of the manifest failed; then nothing of it may run
 */
export async function loadCurrent(context: AgentContext): Promise<LoadedGeneration | undefined> {
  const number = await pointedGeneration(context.places, "current");
  return number === undefined
    ? undefined
    : loadGeneration(context, await readGeneration(context.places, number));
}

/** What runs now, or undefined when nothing does or it can no longer be verified: an update mends that. */
export async function loadRunning(context: AgentContext): Promise<LoadedGeneration | undefined> {
  try {
    return await loadCurrent(context);
  } catch (error) {
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

async function loadGeneration(context: AgentContext, generation: Generation): Promise<LoadedGeneration> {
  const trust = await loadTrust(context);
  const current = await rootOfGeneration(context, trust, generation);
  const { manifest, signers } = acceptManifest(trust, current.root, {
    ...generation,
    time: { kind: "ignore" },
  });
  const { images, problems } = await loadImages(context, manifest);
  return {
    number: generation.number,
    record: generation.record,
    trust,
    current,
    signers,
    manifest,
    digest: digestOf(generation.manifest),
    images,
    problems,
  };
}

/** The images of all targets that run, from the store. */
export async function loadImages(
  context: AgentContext,
  manifest: InstallManifest,
): Promise<{ readonly images: LoadedImage[]; readonly problems: TargetProblem[] }> {
  const store = await Layout.open(storePath(context.places));
  const images: LoadedImage[] = [];
  const problems: TargetProblem[] = [];
  for (const target of manifest.targets) {
    if (isBootTarget(target)) continue;
    try {
      images.push(await loadImage(store, target));
    } catch (error) {
      problems.push({ service: target.service_name, error: asMosError(error, target.service_name) });
    }
  }
  return { images, problems };
}

async function loadImage(store: Layout, target: Target): Promise<LoadedImage> {
  const about = `image of ${target.service_name}`;
  const bytes = await store.smallBlob(
    { mediaType: mediaTypes.manifest, digest: target.digest, size: target.size },
    limits.manifest,
  );
  const image = parseManifest(bytes, about);
  const config = parseConfig(
    await store.smallBlob(image.config, limits.config),
    `configuration of the ${about}`,
  );
  if (image.layers.length === 0)
    throw new MosError("layer-unsupported", `the ${about} has no layers`, { about });
  const layers: Layer[] = [];
  for (const descriptor of image.layers) {
    const blob = store.blobPath(descriptor.digest);
    const { kind, hashOffset } = await inspectLayer(blob, descriptor);
    layers.push({ kind, hashOffset, rootHash: rootHashOf(descriptor), blob });
  }
  return { target, config, layers, digests: image.layers.map(({ digest }) => digest) };
}
