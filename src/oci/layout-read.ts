// Reading an OCI image layout (OCI image specification 1.1, "OCI Image Layout"), wherever its files are: in a directory
// (layout.ts) or in a tar archive (archive.ts).
import { MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { checkSmallBlob } from "./blob-read.ts";
import { type Digest, hexOf, isDigest } from "./digest.ts";
import { entriesNamed, entryOf, type LayoutIndex, namesIn, parseLayoutIndex } from "./layout-index.ts";
import { type Descriptor, limits, mediaTypes, parseIndex, parseManifest } from "./model.ts";
import { chooseForPlatform } from "./platform.ts";
import type { FetchedManifest, Repository } from "./source.ts";

/** "oci-layout file": the only version there is. */
export const layoutVersion = "1.0.0";

/** An index of an index of manifests is as deep as anybody nests them. */
const maxNesting = 2;

/** The files of a layout by their names in it: `oci-layout`, `index.json`, `blobs/sha256/HEX`. */
export interface LayoutFiles {
  /** What a file is called in messages. */
  pathOf(name: string): string;
  /** Bytes of a regular file; undefined when there is none of this name. */
  sizeOf(name: string): number | undefined;
  /** @throws MosError `not-found`, `state-invalid`, `too-large`, `io-failed`, `archive-invalid` */
  small(name: string, limit: number): Uint8Array;
  /** @throws MosError as `small`, and `size-mismatch` */
  pieces(name: string, size: number, offset: number): AsyncIterable<Uint8Array>;
}

/** The name of a blob's file. */
function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

export abstract class LayoutReader implements Repository {
  abstract readonly name: string;
  protected abstract readonly files: LayoutFiles;

  /** @throws MosError `not-found`, `document-invalid` */
  protected checkVersion(): void {
    const path = this.files.pathOf("oci-layout");
    const version = parseJson(this.files.small("oci-layout", limits.config), path);
    const isKnown =
      version !== null &&
      typeof version === "object" &&
      !Array.isArray(version) &&
      version["imageLayoutVersion"] === layoutVersion;
    if (isKnown) return;
    throw new MosError("document-invalid", `${this.name} is not an OCI layout of version ${layoutVersion}`, {
      about: path,
    });
  }

  /** Names that manifests have. */
  protected names(): readonly string[] {
    return namesIn(this.readIndex());
  }

  async smallBlob(descriptor: Descriptor, limit: number): Promise<Uint8Array> {
    return this.readSmall(descriptor, limit);
  }

  private readSmall(descriptor: Descriptor, limit: number): Uint8Array {
    const name = blobName(descriptor.digest);
    return checkSmallBlob(
      (bytes) => this.files.small(name, bytes),
      this.files.pathOf(name),
      descriptor,
      limit,
    );
  }

  blob({ digest, size }: Descriptor, offset = 0): AsyncIterable<Uint8Array> {
    return this.files.pieces(blobName(digest), size, offset);
  }

  async blobRange({ digest, size }: Descriptor, start: number, end: number): Promise<Uint8Array> {
    const range = Buffer.allocUnsafeSlow(end - start);
    let at = 0;
    for await (const piece of this.files.pieces(blobName(digest), size, start)) {
      const part = piece.subarray(0, range.length - at);
      range.set(part, at);
      at += part.length;
      if (at === range.length) return range;
    }
    if (at === range.length) return range;
    throw new MosError("size-mismatch", `${this.name} has fewer than ${end} bytes of ${digest}`, {
      about: digest,
    });
  }

  async manifest(reference: string): Promise<FetchedManifest> {
    const index = this.readIndex();
    const about = `${this.name} ${reference}`;
    let descriptor = isDigest(reference)
      ? (entryOf(index, reference) ?? this.unlisted(reference, about))
      : this.named(index, reference, about);
    for (let depth = 0; depth <= maxNesting; depth++) {
      const bytes = this.readSmall(descriptor, limits.manifest);
      const mediaType = mediaTypeOf(bytes, about) ?? descriptor.mediaType;
      if (mediaType !== mediaTypes.index) {
        return { digest: descriptor.digest, size: descriptor.size, mediaType, bytes };
      }
      descriptor = chooseForPlatform(parseIndex(bytes, about).manifests, about);
    }
    throw new MosError("document-invalid", `${about} is an index nested deeper than ${maxNesting} levels`, {
      about,
    });
  }

  private named(index: LayoutIndex, name: string, about: string): Descriptor {
    const entries = entriesNamed(index, name);
    const [first, ...more] = entries;
    if (first === undefined) throw new MosError("not-found", `there is no ${about}`, { about });
    return more.length === 0 ? first : chooseForPlatform(entries, about);
  }

  /** A manifest that only its digest names. */
  private unlisted(digest: Digest, about: string): Descriptor {
    const size = this.files.sizeOf(blobName(digest));
    if (size === undefined) throw new MosError("not-found", `there is no ${about}`, { about });
    return { mediaType: mediaTypes.manifest, digest, size };
  }

  async referrers(subject: Digest): Promise<readonly Descriptor[]> {
    const found = new Map<Digest, Descriptor>();
    for (const { entry } of this.readIndex().listed) {
      if (entry.mediaType !== mediaTypes.manifest || entry.digest === subject) continue;
      const referrer = this.asReferrer(entry, subject);
      if (referrer !== undefined) found.set(entry.digest, referrer);
    }
    return [...found.values()];
  }

  private asReferrer(entry: Descriptor, subject: Digest): Descriptor | undefined {
    try {
      const bytes = this.readSmall(entry, limits.manifest);
      const manifest = parseManifest(bytes, entry.digest);
      if (manifest.subject?.digest !== subject) return undefined;
      // Before image specification 1.1 the type was said by the config's media type.
      const artifactType = manifest.artifactType ?? manifest.config.mediaType;
      const { annotations } = manifest;
      const { mediaType, digest, size } = entry;
      return { mediaType, digest, size, artifactType, ...(annotations === undefined ? {} : { annotations }) };
    } catch (error) {
      if (!(error instanceof MosError)) throw error;
      // A layout need not hold every manifest that it lists. A damaged one may be a referrer: the caller, who
      // cannot use it, then has the reason why.
      return error.code === "not-found" || error.code === "document-invalid" ? undefined : entry;
    }
  }

  protected readIndex(): LayoutIndex {
    return parseLayoutIndex(this.files.small("index.json", limits.manifest), this.files.pathOf("index.json"));
  }
}

/** What a manifest says it is. */
function mediaTypeOf(bytes: Uint8Array, about: string): string | undefined {
  const document = parseJson(bytes, about);
  if (document === null || typeof document !== "object" || Array.isArray(document)) return undefined;
  const { mediaType } = document;
  return typeof mediaType === "string" ? mediaType : undefined;
}
