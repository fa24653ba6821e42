// The documents of the OCI image specification 1.1 that mos reads: descriptor, image manifest, image index,
// image configuration. Fields that mos does not use are ignored, as the specification asks of readers.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { type Digest, isDigest } from "./digest.ts";

export const mediaTypes = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  empty: "application/vnd.oci.empty.v1+json",
  tarLayer: "application/vnd.oci.image.layer.v1.tar",
} as const;

/** Upper bounds, in bytes, of what is read into memory from outside. */
export const limits = {
  manifest: 4 * 1024 * 1024,
  installManifest: 1024 * 1024,
  signature: 64 * 1024,
  certificate: 64 * 1024,
  config: 1024 * 1024,
} as const;

const digest = z.custom<Digest>(isDigest, { message: "must be sha256: and 64 lower-case hex digits" });
const size = z.int().min(0);
const annotations = z.record(z.string(), z.string());

const descriptorSchema = z.object({
  mediaType: z.string().min(1).max(255),
  digest,
  size,
  artifactType: z.string().max(255).optional(),
  annotations: annotations.optional(),
});

const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  config: descriptorSchema,
  layers: z.array(descriptorSchema).max(512),
  subject: descriptorSchema.optional(),
  annotations: annotations.optional(),
});

const indexSchema = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z.array(
    descriptorSchema.extend({
      platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
    }),
  ),
  annotations: annotations.optional(),
});

const texts = z.array(z.string()).nullish();
/** A set, as Go's encoder writes one: `{"80/tcp": {}}`. */
const set = z.record(z.string(), z.unknown()).nullish();
/** Nanoseconds. */
const duration = z.number().nullish();

const configSchema = z.object({
  architecture: z.string().optional(),
  os: z.string().optional(),
  config: z
    .object({
      User: z.string().nullish(),
      Env: texts,
      Entrypoint: texts,
      Cmd: texts,
      WorkingDir: z.string().nullish(),
      StopSignal: z.string().nullish(),
      Labels: z.record(z.string(), z.string()).nullish(),
      Volumes: set,
      ExposedPorts: set,
      // Docker's, which the specification reserves ("Conventions", "Properties"): what builders write all the same.
      Healthcheck: z
        .object({
          Test: texts,
          Interval: duration,
          Timeout: duration,
          StartPeriod: duration,
          Retries: z.number().nullish(),
        })
        .nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: texts }).nullish(),
});

export type Descriptor = z.infer<typeof descriptorSchema>;
export type ImageManifest = z.infer<typeof manifestSchema>;
export type ImageIndex = z.infer<typeof indexSchema>;
export type ImageConfig = z.infer<typeof configSchema>;

function parse<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  const result = schema.safeParse(parseJson(bytes, what));
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    (issue) => `${issue.path.join(".") || "document"}: ${issue.message}`,
  );
  throw new MosError("document-invalid", `${what} is not a valid OCI document: ${problems[0]}`, {
    about: what,
    problems,
  });
}

/** Parses an image or artifact manifest. @throws MosError `document-invalid` */
export function parseManifest(bytes: Uint8Array, what: string): ImageManifest {
  const manifest = parse(manifestSchema, bytes, what);
  if (manifest.mediaType !== undefined && manifest.mediaType !== mediaTypes.manifest) {
    throw new MosError(
      "document-invalid",
      `${what} says it is ${manifest.mediaType}, not an OCI image manifest`,
      { about: what },
    );
  }
  return manifest;
}

/** Parses an image index (also a layout's index.json). @throws MosError `document-invalid` */
export function parseIndex(bytes: Uint8Array, what: string): ImageIndex {
  return parse(indexSchema, bytes, what);
}

/** Parses an image configuration. @throws MosError `document-invalid` */
export function parseConfig(bytes: Uint8Array, what: string): ImageConfig {
  return parse(configSchema, bytes, what);
}
