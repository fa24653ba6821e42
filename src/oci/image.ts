// The configuration and manifest of an image that mos packs itself (OCI image specification 1.1, "Image
// Configuration" and "Image Manifest"). Pure; equal inputs give equal bytes, so no time and no history.
import { type Json, parseJson } from "../system/json.ts";
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
  readonly labels?: Readonly<Record<string, string>>;
  readonly exposed_ports?: readonly string[];
  readonly volumes?: readonly string[];
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
  return documentsOf(layers, {
    architecture: thisArchitecture(),
    os: "linux",
    config: {
      ...(run.user === "" ? {} : { User: run.user }),
      ...(run.env.length === 0 ? {} : { Env: [...run.env] }),
      ...(run.entrypoint.length === 0 ? {} : { Entrypoint: [...run.entrypoint] }),
      ...(run.cmd.length === 0 ? {} : { Cmd: [...run.cmd] }),
      ...(run.working_dir === "" ? {} : { WorkingDir: run.working_dir }),
      ...(run.stop_signal === undefined ? {} : { StopSignal: run.stop_signal }),
      ...(run.labels === undefined ? {} : { Labels: sorted(Object.entries(run.labels)) }),
      ...(run.exposed_ports === undefined ? {} : { ExposedPorts: setOf(run.exposed_ports) }),
      ...(run.volumes === undefined ? {} : { Volumes: setOf(run.volumes) }),
    },
    rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
  });
}

/**
 * The documents of an image whose layers were converted: its configuration is the original one but for what is about the
 * layers themselves.
 * @param layers bottom first
 * @param config bytes of the original configuration, which parseConfig() accepts
 * @throws MosError `document-invalid`
 */
export function rebuildImage(layers: readonly Descriptor[], config: Uint8Array): BuiltImage {
  const original = parseJson(config, "image configuration");
  const kept = typeof original === "object" && original !== null && !Array.isArray(original) ? original : {};
  const { created: _created, history: _history, rootfs: _rootfs, ...rest } = kept;
  return documentsOf(layers, {
    ...rest,
    rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
  });
}

function documentsOf(layers: readonly Descriptor[], configuration: Json): BuiltImage {
  const config = documentOf(mediaTypes.config, configuration);
  const manifest = documentOf(mediaTypes.manifest, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorJson(config.descriptor),
    layers: layers.map(descriptorJson),
  });
  return { config, manifest };
}

/** A set, as Go's encoder writes one. */
function setOf(names: readonly string[]): Json {
  return sorted(names.map((name) => [name, {}]));
}

function sorted(entries: readonly (readonly [string, Json])[]): Json {
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
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
