// An OCI image layout on disk (OCI image specification 1.1, "OCI Image Layout"): the device's content-addressed
// store, and the source or destination `oci:DIR`. Other programs (skopeo, umoci) read and write the same.
import { lstatSync } from "node:fs";
import { join, resolve } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { makeDirectory, writeFileAtomic } from "../system/atomic-file.ts";
import { parseJson } from "../system/json.ts";
import { withLock } from "../system/lock.ts";
import { readPieces, readRange, readSmallBlob, readSmallFile } from "./blob-read.ts";
import { storeBlob } from "./blob-store.ts";
import { type Digest, digestOf, hexOf, isDigest } from "./digest.ts";
import {
  emptyLayoutIndex,
  encodeLayoutIndex,
  entriesNamed,
  entryOf,
  indexOf,
  type LayoutIndex,
  parseLayoutIndex,
  type Reference,
  withReference,
} from "./layout-index.ts";
import { type Descriptor, limits, mediaTypes, parseIndex, parseManifest } from "./model.ts";
import { chooseForPlatform } from "./platform.ts";
import type { FetchedManifest, Repository, WritableRepository } from "./source.ts";

/** "oci-layout file": the only version there is. */
const layoutVersion = "1.0.0";

/** An index of an index of manifests is as deep as anybody nests them. */
const maxNesting = 2;

export class Layout implements WritableRepository {
  readonly name: string;
  private readonly path: string;
  private readonly blobs: string;
  /** Changes of index.json by this process, one after the other. */
  private changes: Promise<unknown> = Promise.resolve();

  private constructor(path: string) {
    this.path = path;
    this.blobs = join(path, "blobs", "sha256");
    this.name = `oci:${path}`;
  }

  /** Opens the layout, making what is missing of it. @throws MosError `document-invalid`, `io-failed`, … */
  static async create(path: string): Promise<Layout> {
    const layout = new Layout(resolve(path));
    try {
      await makeDirectory(layout.blobs);
      if (!isThere(layout.indexPath)) {
        await writeFileAtomic(layout.indexPath, encodeLayoutIndex(emptyLayoutIndex));
      }
      // Last, because it is what makes the directory a layout.
      if (!isThere(layout.versionPath)) {
        await writeFileAtomic(layout.versionPath, JSON.stringify({ imageLayoutVersion: layoutVersion }));
      }
    } catch (error) {
      throw asMosError(error, path);
    }
    layout.check();
    return layout;
  }

  /** Opens a layout that is there. @throws MosError `not-found`, `document-invalid`, `state-invalid` */
  static async open(path: string): Promise<Layout> {
    const layout = new Layout(resolve(path));
    if (!isThere(layout.versionPath)) {
      throw new MosError("not-found", `there is no OCI layout in ${path}`, {
        about: path,
        hint: "Check the path: an OCI layout is a directory with a file named oci-layout.",
      });
    }
    layout.check();
    return layout;
  }

  private get indexPath(): string {
    return join(this.path, "index.json");
  }

  private get versionPath(): string {
    return join(this.path, "oci-layout");
  }

  private check(): void {
    const version = parseJson(readSmallFile(this.versionPath, limits.config), this.versionPath);
    const isKnown =
      version !== null &&
      typeof version === "object" &&
      !Array.isArray(version) &&
      version["imageLayoutVersion"] === layoutVersion;
    if (!isKnown) {
      throw new MosError(
        "document-invalid",
        `${this.path} is not an OCI layout of version ${layoutVersion}`,
        {
          about: this.versionPath,
        },
      );
    }
    // O_NOFOLLOW looks at the last part of a path only, so the directories are looked at here.
    for (const directory of [join(this.path, "blobs"), this.blobs]) {
      const stat = lstatSync(directory, { throwIfNoEntry: false });
      if (stat !== undefined && !stat.isDirectory()) {
        throw new MosError("state-invalid", `cannot use the layout: ${directory} is not a directory`, {
          about: directory,
        });
      }
    }
  }

  /** Where the blob of a digest is, or would be. */
  blobPath(digest: Digest): string {
    return join(this.blobs, hexOf(digest));
  }

  /** Whether the blob is there: a regular file of the declared size. Its content is not read. */
  async hasBlob({ digest, size }: Descriptor): Promise<boolean> {
    const stat = lstatSync(this.blobPath(digest), { throwIfNoEntry: false });
    return stat?.isFile() === true && stat.size === size;
  }

  /**
   * Stores a blob of another repository, unless it is there. What an interrupted attempt left is continued.
   * @param onBytes told how many bytes of the blob are there, after each piece
   * @throws MosError `digest-mismatch`, `size-mismatch`, `no-space`, `busy`, and what the source throws
   */
  async storeBlob(
    descriptor: Descriptor,
    from: Pick<Repository, "name" | "blob">,
    onBytes: (done: number) => void = () => undefined,
  ): Promise<void> {
    if (await this.hasBlob(descriptor)) return;
    const open = (offset: number) => from.blob(descriptor, offset);
    await this.store(descriptor, { name: from.name, canResume: true, open }, onBytes);
  }

  async putBlob(descriptor: Descriptor, open: () => AsyncIterable<Uint8Array>): Promise<"sent" | "present"> {
    if (await this.hasBlob(descriptor)) return "present";
    await this.store(descriptor, { name: "the source", canResume: false, open }, () => undefined);
    return "sent";
  }

  private async store(
    descriptor: Descriptor,
    source: Parameters<typeof storeBlob>[1],
    onBytes: (done: number) => void,
  ): Promise<void> {
    const { digest } = descriptor;
    const partial = join(this.path, `.partial-${hexOf(digest)}`);
    const to = { partial, blob: this.blobPath(digest), directory: this.blobs };
    await storeBlob(descriptor, source, to, onBytes);
  }

  async smallBlob(descriptor: Descriptor, limit: number): Promise<Uint8Array> {
    return readSmallBlob(this.blobPath(descriptor.digest), descriptor, limit);
  }

  blob(descriptor: Descriptor, offset = 0): AsyncIterable<Uint8Array> {
    return readPieces(this.blobPath(descriptor.digest), descriptor.size, offset);
  }

  async blobRange({ digest, size }: Descriptor, start: number, end: number): Promise<Uint8Array> {
    return await readRange(this.blobPath(digest), size, start, end);
  }

  async manifest(reference: string): Promise<FetchedManifest> {
    const index = this.readIndex();
    const about = `${this.name} ${reference}`;
    let descriptor = isDigest(reference)
      ? (entryOf(index, reference) ?? (await this.unlisted(reference, about)))
      : this.named(index, reference, about);
    for (let depth = 0; depth <= maxNesting; depth++) {
      const bytes = readSmallBlob(this.blobPath(descriptor.digest), descriptor, limits.manifest);
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
  private async unlisted(digest: Digest, about: string): Promise<Descriptor> {
    const stat = lstatSync(this.blobPath(digest), { throwIfNoEntry: false });
    if (stat === undefined) throw new MosError("not-found", `there is no ${about}`, { about });
    return { mediaType: mediaTypes.manifest, digest, size: stat.size };
  }

  async hasManifest(reference: string): Promise<boolean> {
    if (isDigest(reference)) {
      return lstatSync(this.blobPath(reference), { throwIfNoEntry: false })?.isFile() === true;
    }
    const entries = entriesNamed(this.readIndex(), reference);
    for (const entry of entries) if (!(await this.hasBlob(entry))) return false;
    return entries.length > 0;
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
      const bytes = readSmallBlob(this.blobPath(entry.digest), entry, limits.manifest);
      const manifest = parseManifest(bytes, entry.digest);
      if (manifest.subject?.digest !== subject) return undefined;
      // Before image specification 1.1 the type was said by the config's media type.
      const artifactType = manifest.artifactType ?? manifest.config.mediaType;
      const { annotations } = manifest;
      return {
        ...{ mediaType: entry.mediaType, digest: entry.digest, size: entry.size, artifactType },
        ...(annotations === undefined ? {} : { annotations }),
      };
    } catch (error) {
      if (!(error instanceof MosError)) throw error;
      // A layout need not hold every manifest that it lists. A damaged one may be a referrer: the caller, who
      // cannot use it, then has the reason why.
      return error.code === "not-found" || error.code === "document-invalid" ? undefined : entry;
    }
  }

  /**
   * Stores a manifest, and lists it: under the tag, which its older holder loses, or without a name.
   * @throws MosError `document-invalid`, `no-space`, `busy`, `io-failed`
   */
  async putManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    const digest = digestOf(bytes);
    const descriptor: Descriptor = { mediaType, digest, size: bytes.length };
    await this.putBlob(descriptor, async function* () {
      yield bytes;
    });
    const isReferrer =
      mediaType === mediaTypes.manifest && parseManifest(bytes, digest).subject !== undefined;
    const reference = tag === undefined || isReferrer ? { descriptor } : { descriptor, name: tag };
    await this.changeIndex(`tag ${tag ?? digest}`, (index) => withReference(index, reference));
    return digest;
  }

  /** Makes index.json list exactly these, in one step. @throws MosError `no-space`, `busy`, `io-failed` */
  async setReferences(references: readonly Reference[]): Promise<void> {
    await this.changeIndex("list the images", () => indexOf(references));
  }

  private readIndex(): LayoutIndex {
    return parseLayoutIndex(readSmallFile(this.indexPath, limits.manifest), this.indexPath);
  }

  private async changeIndex(purpose: string, change: (index: LayoutIndex) => LayoutIndex): Promise<void> {
    const work = async () => {
      const index = this.readIndex();
      const after = encodeLayoutIndex(change(index));
      if (Buffer.compare(encodeLayoutIndex(index), after) === 0) return;
      await writeFileAtomic(this.indexPath, after);
    };
    const turn = this.changes.then(() => withLock(join(this.path, ".lock"), purpose, work));
    this.changes = turn.catch(() => undefined);
    await turn.catch((error: unknown) => {
      throw asMosError(error, this.indexPath);
    });
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** What a manifest says it is. */
function mediaTypeOf(bytes: Uint8Array, about: string): string | undefined {
  const document = parseJson(bytes, about);
  if (document === null || typeof document !== "object" || Array.isArray(document)) return undefined;
  const { mediaType } = document;
  return typeof mediaType === "string" ? mediaType : undefined;
}
