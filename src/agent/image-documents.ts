// The documents of a target's image, as a source has them: its manifest, of the size and digest that were signed, and
// its configuration. Small, and checked whole; layers are somebody else's business.
import { MosError } from "../errors/mos-error.ts";
import type { Target } from "../manifest/schema.ts";
import { type ImageManifest, limits, parseConfig, parseManifest } from "../oci/model.ts";
import type { FetchedManifest, Repository } from "../oci/source.ts";

/**
 * Fetches and checks them.
 * @throws MosError `size-mismatch`, `digest-mismatch`, `document-invalid`, and what fetching throws
 */
export async function fetchImageDocuments(
  images: Repository,
  target: Target,
): Promise<{ readonly fetched: FetchedManifest; readonly image: ImageManifest }> {
  const about = `image of ${target.service_name}`;
  const fetched = await images.manifest(target.digest);
  if (fetched.size !== target.size) {
    throw new MosError(
      "size-mismatch",
      `the ${about} has a manifest of ${fetched.size} bytes, the signed manifest says ${target.size}`,
      { about: target.digest },
    );
  }
  const image = parseManifest(fetched.bytes, about);
  parseConfig(await images.smallBlob(image.config, limits.config), `configuration of the ${about}`);
  return { fetched, image };
}
