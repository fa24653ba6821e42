// Patches as artifacts (OCI image specification 1.1, "Guidelines for Artifact Usage"): each is a referrer of the image
// that has the new layer, and its annotations say between which layers it leads. Pure.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { emptyConfig } from "../oci/artifacts.ts";
import { type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { type Descriptor, mediaTypes, parseManifest } from "../oci/model.ts";

export const patchArtifactType = "application/vnd.machine.layer-patch";
const patchMediaType = "application/vnd.machine.layer-patch.v1";

const prefix = "vnd.machine.layer-patch.";
const decimal = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,14})$/)
  .transform(Number);
const digest = z.custom<Digest>(isDigest);

const annotationsSchema = z.object({
  format: z.literal("1"),
  from: digest,
  "from-size": decimal,
  to: digest,
  "to-size": decimal,
  size: decimal,
});

/** What the annotations of a patch say. */
export interface PatchInfo {
  /** Digests and bytes of the two layers. */
  readonly from: { readonly digest: Digest; readonly size: number };
  readonly to: { readonly digest: Digest; readonly size: number };
  /** Bytes of the patch. */
  readonly size: number;
}

/** What annotations say about a patch; undefined when they are not those of one that this version understands. */
export function patchInfoOf(annotations: Descriptor["annotations"] = {}): PatchInfo | undefined {
  const own = Object.entries(annotations).flatMap(([key, value]) =>
    key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [],
  );
  const { success, data } = annotationsSchema.safeParse(Object.fromEntries(own));
  if (!success) return undefined;
  return {
    from: { digest: data.from, size: data["from-size"] },
    to: { digest: data.to, size: data["to-size"] },
    size: data.size,
  };
}

/** The manifest of a patch, and its blob. */
export interface PatchArtifact {
  readonly manifest: Uint8Array;
  readonly blob: Descriptor;
}

/**
 * Builds the artifact; equal inputs give equal bytes.
 * @param image the manifest of the image that has the layer `to`
 */
export function buildPatchArtifact(
  patch: Uint8Array,
  from: Descriptor,
  to: Descriptor,
  image: { readonly digest: Digest; readonly size: number },
): PatchArtifact {
  const blob: Descriptor = { mediaType: patchMediaType, digest: digestOf(patch), size: patch.length };
  const { mediaType, size } = blob;
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType: patchArtifactType,
    config: {
      ...{ mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: emptyConfig.length },
      data: "e30=",
    },
    layers: [{ mediaType, digest: blob.digest, size }],
    subject: { mediaType: mediaTypes.manifest, digest: image.digest, size: image.size },
    annotations: {
      [`${prefix}format`]: "1",
      [`${prefix}from`]: from.digest,
      [`${prefix}from-size`]: String(from.size),
      [`${prefix}to`]: to.digest,
      [`${prefix}to-size`]: String(to.size),
      [`${prefix}size`]: String(size),
    },
  };
  return { manifest: new TextEncoder().encode(JSON.stringify(document)), blob };
}

/**
 * The blob of a patch, from its manifest.
 * @param info what the list of referrers said
 * @throws MosError `document-invalid` when the manifest is not of that patch
 */
export function readPatchArtifact(
  manifest: Uint8Array,
  image: Digest,
  info: PatchInfo,
  about: string,
): Descriptor {
  const { artifactType, layers, subject, annotations } = parseManifest(manifest, about);
  const own = patchInfoOf(annotations);
  const [blob, ...more] = layers;
  const isIt =
    artifactType === patchArtifactType &&
    subject?.digest === image &&
    own?.from.digest === info.from.digest &&
    own.from.size === info.from.size &&
    own.to.digest === info.to.digest &&
    own.to.size === info.to.size;
  if (!isIt || blob === undefined || more.length > 0 || blob.size !== info.size) {
    throw new MosError("document-invalid", `${about} is not the patch that it is listed as`, { about });
  }
  return blob;
}
