// The documents of a target's image, as a source has them: its manifest, of the size and digest that were signed, and
// its configuration. Small, and checked whole; layers are somebody else's business.
import { MosError } from "../errors/mos-error.ts";
import type { Target } from "../manifest/schema.ts";
import {
  type Descriptor,
  type ImageManifest,
  limits,
  mediaTypes,
  parseConfig,
  parseManifest,
} from "../oci/model.ts";
import type { FetchedManifest, Repository } from "../oci/source.ts";

export interface ImageDocuments {
  readonly fetched: FetchedManifest;
  readonly image: ImageManifest;
  /** The bytes of the configuration. */
  readonly config: Uint8Array;
}

/**
 * Fetches and checks them.
 * @param from where a document is read from
 * @throws MosError `size-mismatch`, `digest-mismatch`, `document-invalid`, and what fetching throws
 */
export async function fetchImageDocuments(
  from: (document: Descriptor) => Promise<Repository>,
  target: Target,
): Promise<ImageDocuments> {
  const about = `image of ${target.service_name}`;
  const { digest, size } = target;
  const images = await from({ mediaType: mediaTypes.manifest, digest, size });
  const fetched = await images.manifest(digest);
  if (fetched.size !== size) {
    throw new MosError(
      "size-mismatch",
      `the ${about} has a manifest of ${fetched.size} bytes, the signed manifest says ${size}`,
      { about: digest },
    );
  }
  const image = parseManifest(fetched.bytes, about);
  const config = await (await from(image.config)).smallBlob(image.config, limits.config);
  parseConfig(config, `configuration of the ${about}`);
  return { fetched, image, config };
}
