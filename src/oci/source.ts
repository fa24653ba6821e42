// Where images and artifacts come from and go to: one interface for a registry repository and for an OCI layout
// on disk, so that a USB stick updates a device as a registry does.
import type { Digest } from "./digest.ts";
import type { Descriptor } from "./model.ts";

/** A manifest as it was received: its exact bytes, and the digest that was computed from them. */
export interface FetchedManifest {
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Reading side of one repository. Everything it returns in memory has been checked against its digest. */
export interface Repository {
  /** For messages: `host:port/path`, `oci:DIR` or `oci-archive:FILE`. */
  readonly name: string;
  /**
   * The manifest of a tag or digest. An image index is resolved to the manifest of this machine's platform.
   * @throws MosError `not-found`, `digest-mismatch`, `too-large`, `document-invalid`, `registry-*`
   */
  manifest(reference: string): Promise<FetchedManifest>;
  /**
   * As {@link manifest}, and of an image in Docker's own format the OCI manifest that says the same, with digest and
   * size of the original; absent where only OCI's are kept.
   */
  manifestOfAnyFormat?(reference: string): Promise<FetchedManifest>;
  /** Manifests whose subject is this digest (OCI distribution 1.1, "Listing referrers", and its fallback tag). */
  referrers(subject: Digest): Promise<readonly Descriptor[]>;
  /**
   * The bytes of a blob in pieces, from `offset`; NOT verified: the reader hashes while it stores.
   * @throws MosError `not-found`, `registry-*`; `size-mismatch` when the source sends more or less than declared
   */
  blob(descriptor: Descriptor, offset?: number): AsyncIterable<Uint8Array>;
  /**
   * The bytes of a blob from `start` to `end` (not included) in memory; NOT verified: the reader knows what they
   * must be.
   * @throws MosError `not-found`, `registry-*`; `registry-invalid` also when the source does not know ranges;
   * `size-mismatch`
   */
  blobRange(descriptor: Descriptor, start: number, end: number): Promise<Uint8Array>;
  /** A small blob in memory, verified. @throws MosError also `digest-mismatch`, `size-mismatch`, `too-large` */
  smallBlob(descriptor: Descriptor, limit: number): Promise<Uint8Array>;
  /**
   * Tells that the bytes of `blob` were not those of this descriptor.
   * @returns whether another place is left that may have them; absent where there is only one
   */
  distrust?(descriptor: Descriptor): boolean;
}

/** Writing side of one repository. Everything is idempotent; what is there already is not sent again. */
export interface WritableRepository extends Repository {
  hasManifest(reference: string): Promise<boolean>;
  /** @throws MosError `push-failed`, `registry-*` */
  putBlob(descriptor: Descriptor, open: () => AsyncIterable<Uint8Array>): Promise<"sent" | "present">;
  /**
   * Stores a manifest under its digest, and under a tag when given. A manifest with a `subject` becomes a
   * referrer, through the API or the fallback tag.
   */
  putManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest>;
}
