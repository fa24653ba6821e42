// The configuration and manifest of an image that mos packs itself (OCI image specification 1.1, "Image
// Configuration" and "Image Manifest"). Pure; equal inputs give equal bytes, so no time and no history.
import type { Json } from "../system/json.ts";
import { digestOf } from "./digest.ts";
import { type Descriptor, mediaTypes } from "./model.ts";
import { thisArchitecture } from "./platform.ts";

/** How the image's process is run; the fields of a manifest's `image:` section. */
export interface ImageRunConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly user: string;
  readonly working_dir: string;
  readonly stop_signal?: string;
}

/** A document and the descriptor that names it. */
interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Uint8Array;
}

export interface BuiltImage {
  readonly config: Document;
  readonly manifest: Document;
}

/**
 * Builds the two documents of an image. The `diff_ids` are the digests of the layers: they are stored as they are.
 * @param layers bottom first
 */
export function buildImage(layers: readonly Descriptor[], run: ImageRunConfig): BuiltImage {
  const config = documentOf(mediaTypes.config, {
    architecture: thisArchitecture(),
    os: "linux",
    config: {
      ...(run.user === "" ? {} : { User: run.user }),
      ...(run.env.length === 0 ? {} : { Env: [...run.env] }),
      ...(run.entrypoint.length === 0 ? {} : { Entrypoint: [...run.entrypoint] }),
      ...(run.cmd.length === 0 ? {} : { Cmd: [...run.cmd] }),
      ...(run.working_dir === "" ? {} : { WorkingDir: run.working_dir }),
      ...(run.stop_signal === undefined ? {} : { StopSignal: run.stop_signal }),
    },
    rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
  });
  const manifest = documentOf(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorJson(config.descriptor),
    layers: layers.map(descriptorJson),
  });
  return { config, manifest };
}

function documentOf(mediaType: string, document: Json): Document {
  const bytes = new TextEncoder().encode(JSON.stringify(document));
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, bytes };
}

function descriptorJson({ mediaType, digest, size, annotations }: Descriptor): Json {
  const sorted = Object.entries(annotations ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    mediaType,
    digest,
    size,
    ...(sorted.length === 0 ? {} : { annotations: Object.fromEntries(sorted) }),
  };
}
