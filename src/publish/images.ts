// The image of each target, wherever it comes from: copied from a registry or a layout, or packed from a root
// file system. What a device could not open under dm-verity is refused here, where it can still be mended.
import { createReadStream } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type LayerView, RootTree } from "../elf/root-tree.ts";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { checkLayerKind, rootHashOf } from "../layers/media-type.ts";
import { type LayerFormat, type PackedLayer, packLayer } from "../layers/pack.ts";
import type { ImportTarget } from "../manifest/schema.ts";
import type { Digest } from "../oci/digest.ts";
import { type BuiltImage, buildImage, rebuildImage } from "../oci/image.ts";
import { manifestOfAnyFormat } from "../oci/mirrors.ts";
import {
  type Descriptor,
  type ImageConfig,
  limits,
  mediaTypes,
  parseConfig,
  parseManifest,
} from "../oci/model.ts";
import { openImage } from "../oci/open.ts";
import { parseReference, type Reference } from "../oci/reference.ts";
import type { WritableRepository } from "../oci/source.ts";
import { argvOf } from "../services/process.ts";
import { convertLayers, isTarLayer } from "./convert.ts";
import { type BlobSource, type LayerFile, saveLayer, type ViewedLayer, viewLayer } from "./layer-file.ts";
import { checkTarget, needsItsRoot, unpackForLook } from "./programs.ts";
import { checkReadOnlyPaths } from "./read-only-paths.ts";

/** An image that is ready to be sent somewhere. */
export interface PreparedImage {
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
  readonly manifest: Uint8Array;
  readonly blobs: readonly BlobSource[];
  /** The image that this was converted from, where it was. */
  readonly source?: { readonly digest: Digest; readonly size: number };
}

interface PrepareOptions {
  readonly format: LayerFormat;
  /** For files that are packed; the caller removes it. */
  readonly workDirectory: string;
  /** What relative paths in the manifest are relative to. */
  readonly baseDirectory: string;
  /** Layers that were converted already, for the other images of the manifest. */
  readonly converted: Map<string, PackedLayer | undefined>;
  /** Layers of the image before, by their digests: those that two images share are mostly of images in a row. */
  readonly viewed: Map<Digest, ViewedLayer>;
  /** Services whose programs are not looked for; images that are there already are not opened for them at all. */
  readonly unchecked: ReadonlySet<string>;
}

/**
 * Packs, converts or looks at the image of one target.
 * @throws MosError `source-invalid`, `layer-unsupported`, `verity-missing`, `archive-refused`, and what fetching and packing throw
 */
export async function prepareImage(target: ImportTarget, options: PrepareOptions): Promise<PreparedImage> {
  return target.source.startsWith("rootfs:")
    ? await packRoot(target, target.source.slice("rootfs:".length), options)
    : await openExisting(target, options);
}

async function* inMemory(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function packRoot(target: ImportTarget, path: string, options: PrepareOptions): Promise<PreparedImage> {
  const source = {
    kind: await kindOfRoot(target, resolve(options.baseDirectory, path)),
    path: resolve(options.baseDirectory, path),
  };
  const { entrypoint = [], cmd = [], env = [], user = "", working_dir = "", ...more } = target.image ?? {};
  if (target.service_type === "container" && entrypoint.length + cmd.length === 0) {
    throw nothingToRun(target, "Add to the target:  image: { entrypoint: [/usr/bin/PROGRAM] }");
  }
  const tree =
    source.kind === "directory" ? source.path : await unpackForLook(source.path, options.workDirectory);
  const root = new RootTree([tree]);
  if (!options.unchecked.has(target.service_name)) checkTarget(target, undefined, root);
  checkReadOnlyPaths(target, root);
  const layer = await packLayer({ source, format: options.format, workDirectory: options.workDirectory });
  const { stop_signal, labels, exposed_ports, volumes } = more;
  const image = buildImage([layer.descriptor], {
    entrypoint,
    cmd,
    env,
    user,
    working_dir,
    ...(stop_signal === undefined ? {} : { stop_signal }),
    ...(labels === undefined ? {} : { labels }),
    ...(exposed_ports === undefined ? {} : { exposed_ports }),
    ...(volumes === undefined ? {} : { volumes }),
  });
  return builtImage(image, [fileSource(layer)]);
}

function fileSource({ descriptor, path }: LayerFile): BlobSource & LayerFile {
  return { descriptor, path, open: () => createReadStream(path, { highWaterMark: 1024 * 1024 }) };
}

/** An image whose documents were made here. */
function builtImage({ manifest, config }: BuiltImage, layers: readonly BlobSource[]): PreparedImage {
  return {
    digest: manifest.descriptor.digest,
    size: manifest.bytes.length,
    manifest: manifest.bytes,
    blobs: [{ descriptor: config.descriptor, open: () => inMemory(config.bytes) }, ...layers],
  };
}

function noLayers(target: ImportTarget): MosError {
  return new MosError("layer-unsupported", `the image of ${target.service_name} has no layers`, {
    about: target.source,
  });
}

function nothingToRun(target: ImportTarget, hint: string): MosError {
  const message = `${target.service_name} is a container, but its image does not say what to run`;
  return new MosError("source-invalid", message, { about: target.source, hint });
}

async function kindOfRoot(target: ImportTarget, path: string): Promise<"directory" | "tar"> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return "directory";
    if (found.isFile()) return "tar";
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    throw new MosError("source-invalid", `the root of ${target.service_name} is not there: ${path}`, {
      about: target.source,
    });
  }
  throw new MosError(
    "source-invalid",
    `the root of ${target.service_name} is neither a directory nor a tar file`,
    {
      about: target.source,
    },
  );
}

/** Paths in a manifest are relative to it. */
function relativeTo(base: string, reference: Reference): Reference {
  switch (reference.kind) {
    case "oci":
      return { ...reference, directory: resolve(base, reference.directory) };
    case "oci-archive":
      return { ...reference, file: resolve(base, reference.file) };
    case "registry":
      return reference;
  }
}

async function openExisting(target: ImportTarget, options: PrepareOptions): Promise<PreparedImage> {
  if (!/^(docker:\/\/|oci:|oci-archive:)/.test(target.source)) {
    throw new MosError(
      "source-invalid",
      `the source of ${target.service_name} is of no kind that mosb knows`,
      {
        about: target.source,
      },
    );
  }
  const reference = parseReference(target.source);
  const repository = openImage(relativeTo(options.baseDirectory, reference));
  const fetched = await manifestOfAnyFormat(repository, reference.reference);
  const image = parseManifest(fetched.bytes, target.source);
  const configBytes = await repository.smallBlob(image.config, limits.config);
  const config = parseConfig(configBytes, `configuration of ${target.source}`);
  if (image.layers.length === 0) {
    throw noLayers(target);
  }
  for (const layer of image.layers) {
    if (isTarLayer(layer)) continue;
    checkLayerKind(layer);
    rootHashOf(layer);
  }
  if (target.service_type === "container" && argvOf(target.image, config.config).length === 0) {
    throw nothingToRun(target, "Build the image with an entrypoint, or make the target fs-only.");
  }
  const fetchedSource = (descriptor: Descriptor): BlobSource => ({
    descriptor,
    open: () => repository.blob(descriptor),
  });
  const { digest, size } = fetched;
  if (!image.layers.some(isTarLayer)) {
    const layers = await checkExisting(target, config, image.layers.map(fetchedSource), options);
    const blobs = [fetchedSource(image.config), ...layers];
    return { digest, size, manifest: fetched.bytes, blobs };
  }
  const layers = await convertLayers(image.layers, config, repository, options);
  if (layers.length === 0) throw noLayers(target);
  const converted = layers.map((layer) => ("path" in layer ? fileSource(layer) : fetchedSource(layer)));
  const sources = await checkExisting(target, config, converted, options);
  const rebuilt = rebuildImage(
    sources.map(({ descriptor }) => descriptor),
    configBytes,
  );
  return { ...builtImage(rebuilt, sources), source: { digest, size } };
}

/**
 * Refuses an image whose program could not start in its own root, or that lacks what is to stay read-only in it.
 * @param layers of the image as devices get it, bottom first
 * @returns where they are now: what was fetched for this need not be fetched again
 * @throws MosError `program-unresolved`, `program-malformed`, `source-invalid`, and what fetching and unpacking throw
 */
async function checkExisting(
  target: ImportTarget,
  { config }: ImageConfig,
  layers: readonly BlobSource[],
  { workDirectory, viewed, unchecked }: PrepareOptions,
): Promise<readonly BlobSource[]> {
  if (unchecked.has(target.service_name) || !needsItsRoot(target, config)) return layers;
  const work = await mkdtemp(join(workDirectory, "layers-"));
  const sources: BlobSource[] = [];
  const views: (LayerView | string)[] = [];
  for (const [i, layer] of layers.entries()) {
    const { digest } = layer.descriptor;
    const known = viewed.get(digest);
    if (known === undefined) {
      const file = await fileOf(layer, join(work, String(i)));
      const view = await viewLayer(file, workDirectory).catch((error: unknown) => {
        throw unseen(target, error);
      });
      viewed.set(digest, view);
      sources.push(fileSource(file));
      views.push(view.view);
    } else {
      sources.push(layer);
      views.push(known.view);
    }
  }
  const own = new Set(layers.map(({ descriptor }) => descriptor.digest));
  for (const [digest, { directory }] of [...viewed].filter(([digest]) => !own.has(digest))) {
    viewed.delete(digest);
    await rm(directory, { recursive: true, force: true });
  }
  const root = new RootTree(views.toReversed());
  checkTarget(target, config, root);
  checkReadOnlyPaths(target, root);
  return sources;
}

/** A layer as a file; one that was packed here is one already. */
async function fileOf(source: BlobSource & { readonly path?: string }, path: string): Promise<LayerFile> {
  return source.path === undefined
    ? await saveLayer(source, path)
    : { descriptor: source.descriptor, path: source.path };
}

function unseen({ service_name: name, source }: ImportTarget, error: unknown): MosError {
  const { code, message, problems } = asMosError(error);
  return new MosError(code, `cannot look into the image of ${name}: ${message}`, {
    ...{ about: source, problems, cause: error },
    hint: `Where this build host cannot open the layer: --unchecked ${name}`,
  });
}

/** Sends an image; what the destination has already is not sent again. Returns the bytes that were sent. */
export async function sendImage(image: PreparedImage, to: WritableRepository): Promise<number> {
  let sent = 0;
  for (const { descriptor, open } of image.blobs) {
    if ((await to.putBlob(descriptor, open)) === "sent") sent += descriptor.size;
  }
  // The published system finds images by a tag that is the hex of their digest.
  // It may be there and stand for something else, so it is not asked for but set.
  await to.putManifest(image.manifest, mediaTypes.manifest, image.digest.slice("sha256:".length));
  return sent;
}
