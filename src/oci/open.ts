// From a reference to the repositories behind it. Nothing is opened or connected to before it is used.
import { MosError } from "../errors/mos-error.ts";
import { Archive } from "./archive.ts";
import type { Digest } from "./digest.ts";
import type { Layout } from "./layout.ts";
import { defaultLimits } from "./limits.ts";
import { Host, MirroredRepository, type Place } from "./mirrors.ts";
import type { Descriptor } from "./model.ts";
import type { Reference, RegistryBase, RegistryReference } from "./reference.ts";
import { Registry } from "./registry.ts";
import { Session, type SessionOptions } from "./session.ts";
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

/** How registries are reached. */
export interface Network {
  /** Other places of a registry, by its authority. */
  readonly mirrors: ReadonlyMap<string, readonly RegistryBase[]>;
  readonly session: SessionOptions;
}

const plainNetwork: Network = { mirrors: new Map(), session: {} };

function openLayout(directory: string, access: "read" | "write"): LazyLayout {
  return new LazyLayout(directory, ({ Layout }) =>
    access === "read" ? Layout.open(directory) : Layout.create(directory),
  );
}

function openRegistry(
  { scheme, authority, repository, reference }: RegistryReference,
  { mirrors, session: options }: Network,
): Repositories<Repository> {
  const hostOf = (base: RegistryBase, isMirror: boolean) => {
    const session = new Session(base, options);
    const host = new Host(isMirror);
    return (path: string): Place => ({ repository: new Registry(session, `${base.prefix}${path}`), host });
  };
  const registry = hostOf({ scheme, authority, prefix: "" }, false);
  const others = (mirrors.get(authority) ?? []).map((base) => hostOf(base, true));
  const waiting = { retriesMs: (options.limits ?? defaultLimits).retriesMs, signal: options.signal };
  const repositoryOf = (path: string, places: readonly ((path: string) => Place)[]) =>
    new MirroredRepository(
      `${authority}/${path}`,
      places.map((place) => place(path)),
      waiting,
    );
  return {
    // What is new, and who signed it, says the registry itself where it can be reached: a mirror that is behind, or
    // wants the device to stay behind, could otherwise not be told from a registry with nothing new.
    install: repositoryOf(repository, [registry, ...others]),
    // The bulk, every byte of it named by a digest that was signed.
    images: repositoryOf(imagesRepository, [...others, registry]),
    reference,
  };
}

/** Where a published manifest and its images are read from. Errors come when they are used. */
export function openRepositories(
  reference: Reference,
  network: Network = plainNetwork,
): Repositories<Repository> {
  switch (reference.kind) {
    case "registry":
      return openRegistry(reference, network);
    case "oci": {
      const layout = openLayout(reference.directory, "read");
      return { install: layout, images: layout, reference: reference.reference };
    }
    case "oci-archive": {
      const archive = new Archive(reference.file);
      return { install: archive, images: archive, reference: reference.reference };
    }
  }
}

/**
 * Where a manifest and its images are published to; a layout that is not there yet is made.
 * @throws MosError `reference-invalid` for an archive, which cannot be written to
 */
export function openWritable(reference: Reference): Repositories<WritableRepository> {
  switch (reference.kind) {
    case "registry": {
      const { scheme, authority, repository } = reference;
      const session = new Session({ scheme, authority });
      return {
        install: new Registry(session, repository),
        images: new Registry(session, imagesRepository),
        reference: reference.reference,
      };
    }
    case "oci": {
      const layout = openLayout(reference.directory, "write");
      return { install: layout, images: layout, reference: reference.reference };
    }
    case "oci-archive":
      throw new MosError("reference-invalid", "cannot write to an archive", {
        about: reference.file,
        hint: "Write to oci:DIR, then: tar -cf FILE.tar -C DIR oci-layout index.json blobs",
      });
  }
}

/** The repository of one image, for a source `docker://…`, `oci:…` or `oci-archive:…`. */
export function openImage(reference: Reference): Repository {
  return openRepositories(reference).install;
}
