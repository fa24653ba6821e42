// One repository, at several places: the registry itself and its mirrors. None of them is trusted; whatever one of
// them does wrong, the next is asked. What fails for a moment everywhere is asked for again.
import { setTimeout as delay } from "node:timers/promises";
import { exitCodes } from "../errors/catalogue.ts";
import { MosError } from "../errors/mos-error.ts";
import type { Digest } from "./digest.ts";
import type { Descriptor } from "./model.ts";
import { isPassing } from "./registry-answer.ts";
import type { FetchedManifest, Repository } from "./source.ts";

/** A host that repositories are on. */
export class Host {
  readonly isMirror: boolean;
  /** It could not be reached, or lied: for the rest of an update the others are asked first. */
  isOut = false;

  constructor(isMirror: boolean) {
    this.isMirror = isMirror;
  }
}

/** A repository at one of its places. */
export interface Place {
  readonly repository: Repository;
  readonly host: Host;
}

/** A manifest, also of an image in Docker's own format where the place may have such. */
export async function manifestOfAnyFormat(
  repository: Repository,
  reference: string,
): Promise<FetchedManifest> {
  if (repository.manifestOfAnyFormat === undefined) return await repository.manifest(reference);
  return await repository.manifestOfAnyFormat(reference);
}

interface Waiting {
  /** Milliseconds before each further round. */
  readonly retriesMs: readonly number[];
  readonly signal: AbortSignal | undefined;
}

/** Refusals of content, and not of something on this machine. */
const badContent: ReadonlySet<string> = new Set(["digest-mismatch", "size-mismatch", "document-invalid"]);

/** Whether it is the far side's doing. */
function isOfSource(error: unknown): error is MosError {
  return error instanceof MosError && (error.exitCode === exitCodes.source || badContent.has(error.code));
}

export class MirroredRepository implements Repository {
  readonly name: string;
  private readonly places: readonly Place[];
  private readonly waiting: Waiting;
  /** Mirrors that sent bytes of a blob since it was begun, and those that are not asked for it any more. */
  private readonly senders = new Map<Digest, Set<Place>>();
  private readonly distrusted = new Map<Digest, Set<Place>>();

  /** @param places in the order in which they are asked; at least the registry itself */
  constructor(name: string, places: readonly Place[], waiting: Waiting) {
    this.name = name;
    this.places = places;
    this.waiting = waiting;
  }

  async manifest(reference: string): Promise<FetchedManifest> {
    return await this.ask((repository) => repository.manifest(reference));
  }

  async manifestOfAnyFormat(reference: string): Promise<FetchedManifest> {
    return await this.ask((repository) => manifestOfAnyFormat(repository, reference));
  }

  /** Of the first place that knows any: a mirror may have the manifest and not what refers to it. */
  async referrers(subject: Digest): Promise<readonly Descriptor[]> {
    let isAnswered = false;
    try {
      return await this.ask(async (repository) => {
        const found = await repository.referrers(subject);
        isAnswered = true;
        if (found.length > 0) return found;
        throw new MosError("not-found", `${repository.name} lists no referrers of ${subject}`);
      });
    } catch (error) {
      if (isAnswered && error instanceof MosError) return [];
      throw error;
    }
  }

  async smallBlob(descriptor: Descriptor, limit: number): Promise<Uint8Array> {
    return await this.ask((repository) => repository.smallBlob(descriptor, limit));
  }

  /** Goes on at the next place where one stops. */
  async *blob(descriptor: Descriptor, offset = 0): AsyncGenerator<Uint8Array> {
    let at = offset;
    const failures = new Failures();
    for await (const place of this.turns(failures, this.distrusted.get(descriptor.digest))) {
      try {
        for await (const piece of place.repository.blob(descriptor, at)) {
          at += piece.length;
          setOf(this.senders, descriptor.digest).add(place);
          yield piece;
        }
        return;
      } catch (error) {
        failures.add(place, error);
      }
    }
    throw failures.error();
  }

  async blobRange(descriptor: Descriptor, start: number, end: number): Promise<Uint8Array> {
    const failures = new Failures();
    for await (const place of this.turns(failures, this.distrusted.get(descriptor.digest))) {
      try {
        const bytes = await place.repository.blobRange(descriptor, start, end);
        setOf(this.senders, descriptor.digest).add(place);
        return bytes;
      } catch (error) {
        failures.add(place, error);
      }
    }
    throw failures.error();
  }

  distrust({ digest }: Descriptor): boolean {
    const distrusted = setOf(this.distrusted, digest);
    const liars = [...setOf(this.senders, digest)].filter(({ host }) => host.isMirror);
    this.senders.delete(digest);
    for (const liar of liars) {
      distrusted.add(liar);
      liar.host.isOut = true;
    }
    return liars.length > 0;
  }

  private async ask<T>(question: (repository: Repository) => Promise<T>): Promise<T> {
    const failures = new Failures();
    for await (const place of this.turns(failures)) {
      try {
        return await question(place.repository);
      } catch (error) {
        failures.add(place, error);
      }
    }
    throw failures.error();
  }

  /** Places to ask, one after the other: all of them, and again after a wait while what failed may pass. */
  private async *turns(failures: Failures, without: ReadonlySet<Place> = new Set()): AsyncGenerator<Place> {
    const places = this.places.filter((place) => !without.has(place));
    for (const waitMs of [0, ...this.waiting.retriesMs]) {
      if (waitMs > 0) {
        if (!failures.takeHope()) return;
        await this.wait(waitMs);
      }
      const [out, well] = [true, false].map((isOut) => places.filter(({ host }) => host.isOut === isOut));
      yield* [...(well ?? []), ...(out ?? [])];
    }
  }

  private async wait(ms: number): Promise<void> {
    const { signal } = this.waiting;
    await delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
    signal?.throwIfAborted();
  }
}

/** What went wrong while places were asked for one thing. */
class Failures {
  private readonly errors = new Map<Place, MosError>();
  private hasHope = false;

  /** @throws the error itself when it is not the far side's doing */
  add(place: Place, error: unknown): void {
    if (!isOfSource(error)) throw error;
    this.errors.set(place, error);
    if (isPassing(error)) this.hasHope = true;
    // What is not there is no reason not to ask the same host for something else.
    else if (error.code !== "not-found") place.host.isOut = true;
  }

  /** Whether something since the last call failed that may pass. */
  takeHope(): boolean {
    const hasHope = this.hasHope;
    this.hasHope = false;
    return hasHope;
  }

  /** The registry's own failure; what mirrors did is told beside it. */
  error(): MosError {
    const own = [...this.errors].findLast(([{ host }]) => !host.isMirror)?.[1];
    const error = own ?? [...this.errors.values()].at(-1);
    if (error === undefined) return new MosError("internal", "there was no place to ask");
    if (this.errors.size < 2) return error;
    const { code, message, about, hint, cause } = error;
    const problems = [...this.errors.values()].map((one) => one.message);
    return new MosError(code, message, { ...(about === undefined ? {} : { about }), hint, problems, cause });
  }
}

function setOf(sets: Map<Digest, Set<Place>>, digest: Digest): Set<Place> {
  const set = sets.get(digest) ?? new Set();
  sets.set(digest, set);
  return set;
}
