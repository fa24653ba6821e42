// Images in Docker's own format ("Image Manifest Version 2, Schema 2" of the distribution project), read as OCI's: the
// documents are the same but for the names of types. For publishers, whose sources are other people's registries; a
// device never asks for it. Pure.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { type Digest, isDigest } from "./digest.ts";
import { mediaTypes } from "./model.ts";

export const dockerTypes = {
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  list: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

const configType = "application/vnd.docker.container.image.v1+json";
const layerTypes: Readonly<Record<string, string>> = {
  "application/vnd.docker.image.rootfs.diff.tar": mediaTypes.tarLayer,
  "application/vnd.docker.image.rootfs.diff.tar.gzip": `${mediaTypes.tarLayer}+gzip`,
  "application/vnd.docker.image.rootfs.diff.tar.zstd": `${mediaTypes.tarLayer}+zstd`,
};

const descriptor = z.object({
  mediaType: z.string(),
  digest: z.custom<Digest>(isDigest, { message: "must be sha256: and 64 lower-case hex digits" }),
  size: z.int().min(0),
});
const schema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.literal(dockerTypes.manifest),
  config: descriptor.extend({ mediaType: z.literal(configType) }),
  layers: z.array(descriptor).max(512),
});

/**
 * The OCI manifest that says the same.
 * @throws MosError `document-invalid`, also for layers that are not in the registry (`foreign`)
 */
export function ociManifestOf(bytes: Uint8Array, about: string): Uint8Array {
  const invalid = (why: string): MosError =>
    new MosError("document-invalid", `${about} is no valid image manifest of Docker's: ${why}`, { about });
  const parsed = schema.safeParse(parseJson(bytes, about));
  if (!parsed.success) throw invalid(z.prettifyError(parsed.error));
  const { config, layers } = parsed.data;
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { ...config, mediaType: mediaTypes.config },
    layers: layers.map(({ mediaType, digest, size }) => {
      const known = layerTypes[mediaType];
      if (known === undefined) throw invalid(`it has a layer of the type ${mediaType}`);
      return { mediaType: known, digest, size };
    }),
  };
  return new TextEncoder().encode(JSON.stringify(manifest));
}
