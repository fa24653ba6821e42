// A generation from the disk, verified again: signature and chain of its manifest, and for each target that runs
// the digests that lead from the manifest to the root hash of every layer. No layer is read beyond a few blocks;
// dm-verity checks the rest when it is used.
import type { RootLayer } from "../boot/command-line.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { type Generation, type GenerationRecord, readGeneration } from "../generation/generations.ts";
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
import { hostfsOf } from "./started.ts";
import {
  type AcceptedManifest,
  acceptGeneration,
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
  readonly generation: Generation;
  readonly record: GenerationRecord;
  readonly trust: DeviceTrust;
  /** Whom the device trusts since this generation. */
  readonly current: CurrentRoot;
  /** Of the manifest that was applied last. */
  readonly signers: AcceptedManifest["signers"];
  /** Every manifest that it consists of, the oldest first; more than one after a partial update. */
  readonly accepted: readonly AcceptedManifest[];
  /** What they are together. */
  readonly manifest: InstallManifest;
  /** Digest of the install.json that was applied last. */
  readonly digest: Digest;
  readonly images: readonly LoadedImage[];
  readonly problems: readonly TargetProblem[];
  /** Layers of the root that it brings, the lowest first; undefined when it brings none, or that cannot be read. */
  readonly hostfs: readonly RootLayer[] | undefined;
}

/**
 * Verifies a generation of the disk, and loads what of it can run.
 * @throws MosError whatever check of its manifests failed; then nothing of it may run
 */
export async function loadGeneration(context: AgentContext, number: number): Promise<LoadedGeneration> {
  const generation = await readGeneration(context.places, number);
  const trust = await loadTrust(context);
  const current = await rootOfGeneration(context, trust, generation);
  const { manifest, newest, bases } = acceptGeneration(trust, current.root, generation);
  const { images, problems } = await loadImages(context, manifest);
  const hostfs = manifest.targets.some(isBootTarget)
    ? await Layout.open(storePath(context.places))
        .then((store) => hostfsOf(store, manifest))
        .catch(() => undefined)
    : undefined;
  return {
    number,
    generation,
    record: generation.record,
    trust,
    current,
    signers: newest.signers,
    accepted: [...bases, newest],
    manifest,
    digest: digestOf(generation.manifest),
    images,
    problems,
    hostfs,
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

/**
 * The image of one target, from the store.
 * @throws MosError when a document or layer of it is missing or not what was signed
 */
export async function loadImage(store: Layout, target: Target): Promise<LoadedImage> {
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
