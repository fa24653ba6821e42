// The fallback for registries without the referrers API (distribution specification 1.1, "Referrers Tag Schema"):
// an image index under a tag that is made from the subject's digest. Pure.
import { type Json, parseJson } from "../system/json.ts";
import { type Digest, digestOf, hexOf } from "./digest.ts";
import { type Descriptor, mediaTypes, parseIndex, parseManifest } from "./model.ts";

/** The tag that lists the referrers of a subject. */
export function referrersTag(subject: Digest): string {
  return `sha256-${hexOf(subject)}`;
}

/** The descriptor under which a manifest is listed as a referrer ("Pushing Manifests with Subject"). */
export function referrerDescriptor(manifest: Uint8Array, mediaType: string): Descriptor {
  const { artifactType, config, annotations } = parseManifest(manifest, "manifest");
  return {
    mediaType,
    digest: digestOf(manifest),
    size: manifest.length,
    artifactType: artifactType ?? config.mediaType,
    ...(annotations === undefined ? {} : { annotations }),
  };
}

/** The index with one more referrer; undefined when it is listed already. Other entries stay as they were. */
export function addReferrer(index: Uint8Array | undefined, referrer: Descriptor): Uint8Array | undefined {
  const about = "list of referrers";
  if (index !== undefined) {
    const { manifests } = parseIndex(index, about);
    if (manifests.some(({ digest }) => digest === referrer.digest)) return undefined;
  }
  const { mediaType, digest, size, artifactType, annotations } = referrer;
  const document: Json = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: [
      ...(index === undefined ? [] : entriesOf(parseJson(index, about))),
      {
        mediaType,
        digest,
        size,
        ...(annotations === undefined ? {} : { annotations }),
        ...(artifactType === undefined ? {} : { artifactType }),
      },
    ],
  };
  return new TextEncoder().encode(JSON.stringify(document));
}

function entriesOf(document: Json): readonly Json[] {
  if (document === null || typeof document !== "object" || Array.isArray(document)) return [];
  const entries = document["manifests"];
  return Array.isArray(entries) ? entries : [];
}

/** The digest of a manifest's subject, undefined when it has none. @throws MosError `document-invalid` */
export function subjectOf(manifest: Uint8Array): Digest | undefined {
  return parseManifest(manifest, "manifest to be pushed").subject?.digest;
}
