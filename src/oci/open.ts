// From a reference to the repositories behind it. Nothing is opened or connected to before it is used.
import type { Digest } from "./digest.ts";
import type { Layout } from "./layout.ts";
import type { Descriptor } from "./model.ts";
import type { Reference } from "./reference.ts";
import { Registry } from "./registry.ts";
import { Session } from "./session.ts";
import type { FetchedManifest, Repository, WritableRepository } from "./source.ts";

/** The repository, beside every install manifest, that holds the images (published system, section "layout"). */
const imagesRepository = "mos";

export interface Repositories<R extends Repository> {
  /** The repository of the install manifest. */
  readonly install: R;
  /** The repository of the images that it names. */
  readonly images: R;
  /** Tag or digest of the install manifest. */
  readonly reference: string;
}

/** A layout that is opened when it is first used, so that a reference can be turned into one at once. */
class LazyLayout implements WritableRepository {
  readonly name: string;
  private readonly open: (module: typeof import("./layout.ts")) => Promise<Layout>;
  private opened: Promise<Layout> | undefined;

  constructor(directory: string, open: (module: typeof import("./layout.ts")) => Promise<Layout>) {
    this.name = `oci:${directory}`;
    this.open = open;
  }

  private layout(): Promise<Layout> {
    this.opened ??= import("./layout.ts").then(this.open);
    return this.opened;
  }

  async manifest(reference: string): Promise<FetchedManifest> {
    return await (await this.layout()).manifest(reference);
  }

  async referrers(subject: Digest): Promise<readonly Descriptor[]> {
    return await (await this.layout()).referrers(subject);
  }

  async *blob(descriptor: Descriptor, offset?: number): AsyncIterable<Uint8Array> {
    yield* (await this.layout()).blob(descriptor, offset);
  }

  async blobRange(descriptor: Descriptor, start: number, end: number): Promise<Uint8Array> {
    return await (await this.layout()).blobRange(descriptor, start, end);
  }

  async smallBlob(descriptor: Descriptor, limit: number): Promise<Uint8Array> {
    return await (await this.layout()).smallBlob(descriptor, limit);
  }

  async hasManifest(reference: string): Promise<boolean> {
    return await (await this.layout()).hasManifest(reference);
  }

  async putBlob(descriptor: Descriptor, open: () => AsyncIterable<Uint8Array>): Promise<"sent" | "present"> {
    return await (await this.layout()).putBlob(descriptor, open);
  }

  async putManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    return await (await this.layout()).putManifest(bytes, mediaType, tag);
  }
}

function open(reference: Reference, access: "read" | "write"): Repositories<WritableRepository> {
  if (reference.kind === "oci") {
    const { directory } = reference;
    const layout = new LazyLayout(directory, ({ Layout }) =>
      access === "read" ? Layout.open(directory) : Layout.create(directory),
    );
    return { install: layout, images: layout, reference: reference.reference };
  }
  const { scheme, authority, repository } = reference;
  const session = new Session({ scheme, authority });
  return {
    install: new Registry(session, repository),
    images: new Registry(session, imagesRepository),
    reference: reference.reference,
  };
}

/** Where a published manifest and its images are read from. Errors come when they are used. */
export function openRepositories(reference: Reference): Repositories<Repository> {
  return open(reference, "read");
}

/** Where a manifest and its images are published to; a layout that is not there yet is made. */
export function openWritable(reference: Reference): Repositories<WritableRepository> {
  return open(reference, "write");
}

/** The repository of one image, for a source `docker://…` or `oci:…`. */
export function openImage(reference: Reference): Repository {
  return open(reference, "read").install;
}
