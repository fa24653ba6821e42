// Patches beside published images: from the layers of an older publication to those of the same service now, for
// devices that have the older ones.
import { join } from "node:path";
import { buildPatchArtifact, patchArtifactType, patchInfoOf } from "../delta/patch-artifact.ts";
import { makePatch } from "../delta/patch-make.ts";
import { MosError } from "../errors/mos-error.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import { emptyConfig, readInstallArtifact } from "../oci/artifacts.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { type Descriptor, limits, mediaTypes, parseManifest } from "../oci/model.ts";
import { openRepositories } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import type { Repository, WritableRepository } from "../oci/source.ts";
import type { PreparedImage } from "./images.ts";

/** Smaller layers are fetched whole. */
const minLayerBytes = 256 * 1024;

/** The layers of one service in an older publication. */
interface OlderService {
  readonly service: string;
  readonly layers: readonly Descriptor[];
  readonly images: Repository;
}

/** A patch that was published. */
export interface PublishedPatch {
  readonly service: string;
  readonly from: Digest;
  readonly to: Digest;
  /** Bytes of the patch, and of the layer that it makes. */
  readonly bytes: number;
  readonly layerBytes: number;
}

/**
 * Finds the layers of older publications.
 * @param references of manifests that were published before
 * @throws MosError `reference-invalid`, `not-found`, and what fetching throws
 */
export async function findOlderLayers(references: readonly string[]): Promise<OlderService[]> {
  const found: OlderService[] = [];
  for (const text of references) {
    const { install, images, reference } = openRepositories(parseReference(text));
    const artifact = readInstallArtifact(await install.manifest(reference), text);
    const manifest = parseInstallManifest(await install.smallBlob(artifact, limits.installManifest));
    for (const { service_name, digest } of manifest.targets) {
      const { layers } = parseManifest((await images.manifest(digest)).bytes, `image of ${service_name}`);
      found.push({ service: service_name, layers, images });
    }
  }
  return found;
}

/**
 * Makes and sends the patches to the layers of one image that are worth it. Those that are there already are not made
 * again.
 */
export async function sendPatches(
  service: string,
  image: PreparedImage,
  older: readonly OlderService[],
  to: WritableRepository,
  workDirectory: string,
): Promise<PublishedPatch[]> {
  const { layers } = parseManifest(image.manifest, `image of ${service}`);
  const sources = older.filter((one) => one.service === service);
  const pairs = layers.flatMap((layer) =>
    sources.flatMap(({ layers: oldLayers, images }) => oldLayers.map((from) => ({ layer, from, images }))),
  );
  const known = new Set(layers.map(({ digest }) => digest));
  // What an older image has too needs no patch, and leads to no other layer.
  const useful = pairs.filter(
    ({ layer, from }) =>
      !known.has(from.digest) &&
      layer.size >= minLayerBytes &&
      !sources.some(({ layers: oldLayers }) => oldLayers.some(({ digest }) => digest === layer.digest)),
  );
  if (useful.length === 0) return [];
  const scratch = await Layout.create(join(workDirectory, "patches"));
  const there = (await to.referrers(image.digest)).flatMap(({ artifactType, annotations }) => {
    const info = artifactType === patchArtifactType ? patchInfoOf(annotations) : undefined;
    return info === undefined ? [] : [info];
  });
  const sent: PublishedPatch[] = [];
  for (const { layer, from, images } of useful) {
    if (there.some((info) => info.from.digest === from.digest && info.to.digest === layer.digest)) continue;
    const blob = image.blobs.find(({ descriptor }) => descriptor.digest === layer.digest);
    if (blob === undefined) throw new MosError("internal", `the layer ${layer.digest} is not at hand`);
    await scratch.putBlob(layer, blob.open);
    await scratch.storeBlob(from, images);
    const patch = await makePatch(scratch, from, layer);
    if (patch === undefined) continue;
    await sendPatch(patch, from, layer, image, to);
    sent.push({ service, from: from.digest, to: layer.digest, bytes: patch.length, layerBytes: layer.size });
  }
  return sent;
}

async function sendPatch(
  patch: Uint8Array,
  from: Descriptor,
  layer: Descriptor,
  image: PreparedImage,
  to: WritableRepository,
): Promise<void> {
  const artifact = buildPatchArtifact(patch, from, layer, image);
  const config = { mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: emptyConfig.length };
  for (const [descriptor, bytes] of [
    [config, emptyConfig],
    [artifact.blob, patch],
  ] as const) {
    await to.putBlob(descriptor, async function* () {
      yield bytes;
    });
  }
  await to.putManifest(artifact.manifest, mediaTypes.manifest);
}
