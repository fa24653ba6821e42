// The three artifacts of a published manifest (OCI image specification 1.1, "Guidelines for Artifact Usage"):
// the install manifest, and as its referrers the signing certificate and the signature. Key order, media types
// and titles are those of the published system, so that equal inputs give equal bytes.
import { MosError } from "../errors/mos-error.ts";
import type { Json } from "../system/json.ts";
import { type Digest, digestOf } from "./digest.ts";
import { type Descriptor, type ImageManifest, limits, mediaTypes, parseManifest } from "./model.ts";
import type { FetchedManifest } from "./source.ts";

export const artifactTypes = {
  install: "application/vnd.machine.install",
  certificate: "application/vnd.machine.pubkeycrt",
  signature: "application/vnd.machine.signature",
} as const;

const createdAnnotation = "org.opencontainers.image.created";
const titleAnnotation = "org.opencontainers.image.title";

/** The two bytes `{}` that an artifact without configuration has as its config blob. */
export const emptyConfig = new TextEncoder().encode("{}");

/** What an artifact is made of: one blob, and the manifest that names it. */
export interface Artifact {
  readonly manifest: Uint8Array;
  readonly digest: Digest;
  readonly layer: Descriptor;
  readonly content: Uint8Array;
}

interface ArtifactForm {
  readonly artifactType: string;
  readonly mediaType: string;
  readonly title: string;
}

const forms = {
  install: { artifactType: artifactTypes.install, mediaType: artifactTypes.install, title: "index.json" },
  certificate: { artifactType: artifactTypes.certificate, mediaType: mediaTypes.tarLayer, title: "cert.pem" },
  signature: {
    artifactType: artifactTypes.signature,
    mediaType: mediaTypes.tarLayer,
    title: "install.json.signed",
  },
} as const satisfies Record<string, ArtifactForm>;

/**
 * Builds one of the three artifacts.
 * @param created RFC 3339 time, put into the annotation as it is given
 * @param subject the install artifact, for its two referrers
 */
export function buildArtifact(
  kind: keyof typeof forms,
  content: Uint8Array,
  created: string,
  subject?: Pick<Artifact, "manifest" | "digest">,
): Artifact {
  const form = forms[kind];
  const layer: Descriptor = {
    mediaType: form.mediaType,
    digest: digestOf(content),
    size: content.length,
    annotations: { [titleAnnotation]: form.title },
  };
  const document: Json = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: form.artifactType,
    config: {
      mediaType: mediaTypes.empty,
      digest: digestOf(emptyConfig),
      size: emptyConfig.length,
      data: "e30=",
    },
    layers: [
      {
        mediaType: layer.mediaType,
        digest: layer.digest,
        size: layer.size,
        annotations: { [titleAnnotation]: form.title },
      },
    ],
    ...(subject === undefined
      ? {}
      : {
          subject: { mediaType: mediaTypes.manifest, digest: subject.digest, size: subject.manifest.length },
        }),
    annotations: { [createdAnnotation]: created },
  };
  const manifest = new TextEncoder().encode(JSON.stringify(document));
  return { manifest, digest: digestOf(manifest), layer, content };
}

/** The one blob of an artifact. @throws MosError `artifact-type-wrong`, `document-invalid`, `too-large` */
function contentOf(manifest: ImageManifest, artifactType: string, limit: number, about: string): Descriptor {
  // Before image specification 1.1 the type was said by the config's media type.
  const type = manifest.artifactType ?? manifest.config.mediaType;
  if (type !== artifactType) {
    throw new MosError("artifact-type-wrong", `${about} is of the type ${type}, not ${artifactType}`, {
      about,
    });
  }
  const [layer, ...more] = manifest.layers;
  if (layer === undefined || more.length > 0) {
    throw new MosError(
      "document-invalid",
      `${about} must have exactly one layer, not ${manifest.layers.length}`,
      { about },
    );
  }
  if (layer.size > limit) {
    throw new MosError("too-large", `${about} has ${layer.size} bytes; the limit is ${limit}`, { about });
  }
  return layer;
}

/** Reads the manifest of an install artifact: where install.json is. */
export function readInstallArtifact(fetched: FetchedManifest, about: string): Descriptor {
  return contentOf(parseManifest(fetched.bytes, about), artifactTypes.install, limits.installManifest, about);
}

/** Reads the manifest of a referrer, which must be of the given type and refer to `subject`. */
export function readReferrer(
  fetched: FetchedManifest,
  kind: "certificate" | "signature",
  subject: Digest,
  about: string,
): Descriptor {
  const manifest = parseManifest(fetched.bytes, about);
  const layer = contentOf(manifest, artifactTypes[kind], limits[kind], about);
  if (manifest.subject?.digest !== subject) {
    throw new MosError(
      "digest-mismatch",
      `${about} belongs to another manifest, ${manifest.subject?.digest ?? "none"}`,
      {
        about,
      },
    );
  }
  return layer;
}
