// What the descriptor of a layer says: its kind, and the root hash of its verity tree. Both spellings are read,
// those of stacker before and since 1.1.0 (reference of the published system, "Layer format"). Pure.
import { MosError } from "../errors/mos-error.ts";
import type { Descriptor } from "../oci/model.ts";
import type { FilesystemKind } from "./superblock.ts";

/** Beginning of every media type of stacker's layers; compression and `+verity` may follow. */
const prefixes: Readonly<Record<FilesystemKind, string>> = {
  squashfs: "application/vnd.stacker.image.layer.squashfs",
  erofs: "application/vnd.stacker.image.layer.erofs",
};

/** Old spelling first: published manifests have it, current stacker writes only the second. */
const rootHashAnnotations = [
  "io.stackeroci.stacker.squashfs_verity_root_hash",
  "io.stackeroci.stacker.atomfs_verity_root_hash",
] as const;

/** What {@link packLayer} makes: squashfs with zstd, EROFS with lz4hc. */
export const packedMediaTypes: Readonly<Record<FilesystemKind, string>> = {
  squashfs: `${prefixes.squashfs}+zstd+verity`,
  erofs: `${prefixes.erofs}+lz4hc`,
};

const rootHashPattern = /^[0-9a-f]{64}$/;

/** The annotations of a layer with this root hash, for readers of both spellings. */
export function rootHashAnnotationsOf(rootHash: string): Record<string, string> {
  return Object.fromEntries(rootHashAnnotations.map((key) => [key, rootHash]));
}

/**
 * The filesystem that a layer's media type promises.
 * @throws MosError `layer-unsupported`
 */
export function checkLayerKind({ mediaType, digest }: Descriptor): FilesystemKind {
  for (const kind of ["squashfs", "erofs"] as const) {
    const prefix = prefixes[kind];
    if (mediaType === prefix || mediaType.startsWith(`${prefix}+`)) return kind;
  }
  const isTar = /\.tar(\b|$)/.test(mediaType);
  throw new MosError("layer-unsupported", `cannot use the layer ${digest}: it is of the type ${mediaType}`, {
    about: digest,
    ...(isTar
      ? {
          hint: "A tar layer cannot be verified block by block: publish the image with mosb manifest publish, which converts it.",
        }
      : {}),
  });
}

/**
 * The root hash of a layer's verity tree: 64 lower-case hex digits.
 * @throws MosError `layer-unsupported`, `verity-missing`, `verity-mismatch` when two spellings say different things
 */
export function rootHashOf(descriptor: Descriptor): string {
  checkLayerKind(descriptor);
  const { digest, annotations = {} } = descriptor;
  const said = rootHashAnnotations.flatMap((key) => {
    const value = annotations[key];
    return value === undefined ? [] : [value];
  });
  const [rootHash, other = rootHash] = said;
  if (rootHash === undefined) {
    throw new MosError("verity-missing", `the layer ${digest} has no verity root hash`, { about: digest });
  }
  if (rootHash !== other) {
    throw new MosError("verity-mismatch", `the layer ${digest} has two different verity root hashes`, {
      about: digest,
    });
  }
  if (!rootHashPattern.test(rootHash)) {
    throw new MosError(
      "verity-mismatch",
      `the verity root hash of the layer ${digest} is not a sha256 in hex`,
      {
        about: digest,
      },
    );
  }
  return rootHash;
}
