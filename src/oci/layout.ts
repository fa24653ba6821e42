// An OCI image layout on disk (OCI image specification 1.1, "OCI Image Layout"): the device's content-addressed
// store, and the source or destination `oci:DIR`. Other programs (skopeo, umoci) read and write the same.
import { lstatSync } from "node:fs";
import { join, resolve } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { makeDirectory, writeFileAtomic } from "../system/atomic-file.ts";
import { withLock } from "../system/lock.ts";
import { readPieces, readSmallFile } from "./blob-read.ts";
import { storeBlob } from "./blob-store.ts";
import { type Digest, digestOf, hexOf, isDigest } from "./digest.ts";
import {
  emptyLayoutIndex,
  encodeLayoutIndex,
  entriesNamed,
  indexOf,
  type LayoutIndex,
  type Reference,
  withReference,
} from "./layout-index.ts";
import { type LayoutFiles, LayoutReader, layoutVersion } from "./layout-read.ts";
import { type Descriptor, mediaTypes, parseManifest } from "./model.ts";
import type { Repository, WritableRepository } from "./source.ts";

class DirectoryFiles implements LayoutFiles {
  private readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  pathOf(name: string): string {
    return join(this.directory, name);
  }

  sizeOf(name: string): number | undefined {
    return lstatSync(this.pathOf(name), { throwIfNoEntry: false })?.size;
  }

  small(name: string, limit: number): Uint8Array {
    return readSmallFile(this.pathOf(name), limit);
  }

  pieces(name: string, size: number, offset: number): AsyncIterable<Uint8Array> {
    return readPieces(this.pathOf(name), size, offset);
  }
}

export class Layout extends LayoutReader implements WritableRepository {
  readonly name: string;
  protected readonly files: LayoutFiles;
  private readonly path: string;
  private readonly blobs: string;
  /** Changes of index.json by this process, one after the other. */
  private changes: Promise<unknown> = Promise.resolve();

  private constructor(path: string) {
    super();
    this.files = new DirectoryFiles(path);
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
    this.checkVersion();
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

  /** Bytes that an interrupted attempt left of a blob. */
  partialBytes({ digest, size }: Descriptor): number {
    const stat = lstatSync(this.partialPath(digest), { throwIfNoEntry: false });
    return stat?.isFile() === true ? Math.min(stat.size, size) : 0;
  }

  private partialPath(digest: Digest): string {
    return join(this.path, `.partial-${hexOf(digest)}`);
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
    const to = { partial: this.partialPath(digest), blob: this.blobPath(digest), directory: this.blobs };
    await storeBlob(descriptor, source, to, onBytes);
  }

  async hasManifest(reference: string): Promise<boolean> {
    if (isDigest(reference)) {
      return lstatSync(this.blobPath(reference), { throwIfNoEntry: false })?.isFile() === true;
    }
    const entries = entriesNamed(this.readIndex(), reference);
    for (const entry of entries) if (!(await this.hasBlob(entry))) return false;
    return entries.length > 0;
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
