// One repository of a registry: client of the OCI distribution specification 1.1. What it returns in memory has
// been checked against its digest; what it pushes is there, or an error says why not.
import { MosError } from "../errors/mos-error.ts";
import { fetchBlob } from "./blob-fetch.ts";
import { fetchRange } from "./blob-range.ts";
import { type Digest, digestOf, isDigest } from "./digest.ts";
import { dockerTypes, ociManifestOf } from "./docker-manifest.ts";
import type { HttpResponse } from "./http.ts";
import { type Descriptor, limits, mediaTypes, parseIndex } from "./model.ts";
import { chooseForPlatform } from "./platform.ts";
import { resolveLocation } from "./redirect.ts";
import { addReferrer, referrerDescriptor, referrersTag, subjectOf } from "./referrers-tag.ts";
import { contentType, manifestType, nextPage } from "./registry-headers.ts";
import type { RegistryRequest, Session } from "./session.ts";
import type { FetchedManifest, WritableRepository } from "./source.ts";

const ociTypes: readonly string[] = [mediaTypes.manifest, mediaTypes.index];
const allTypes: readonly string[] = [...ociTypes, dockerTypes.manifest, dockerTypes.list];
/** Times that the list of referrers under the fallback tag is written, when somebody else writes it too. */
const tagAttempts = 4;

function isList({ mediaType }: FetchedManifest): boolean {
  return mediaType === mediaTypes.index || mediaType === dockerTypes.list;
}

export class Registry implements WritableRepository {
  readonly name: string;
  private readonly session: Session;
  private readonly repository: string;

  constructor(session: Session, repository: string) {
    this.session = session;
    this.repository = repository;
    this.name = `${session.authority}/${repository}`;
  }

  async manifest(reference: string): Promise<FetchedManifest> {
    return await this.manifestOf(reference, ociTypes);
  }

  async manifestOfAnyFormat(reference: string): Promise<FetchedManifest> {
    const fetched = await this.manifestOf(reference, allTypes);
    if (fetched.mediaType !== dockerTypes.manifest) return fetched;
    const bytes = ociManifestOf(fetched.bytes, this.nameOf(reference));
    return { ...fetched, mediaType: mediaTypes.manifest, bytes };
  }

  /** The manifest for this machine. */
  private async manifestOf(reference: string, types: readonly string[]): Promise<FetchedManifest> {
    const fetched = await this.fetchManifest(reference, types);
    if (!isList(fetched)) return fetched;
    const about = this.nameOf(reference);
    const chosen = chooseForPlatform(parseIndex(fetched.bytes, about).manifests, about);
    const manifest = await this.fetchManifest(chosen.digest, types);
    if (isList(manifest)) {
      throw new MosError("document-invalid", `${about} leads to an index in an index`, { about });
    }
    if (manifest.size !== chosen.size) {
      throw new MosError(
        "size-mismatch",
        `${this.nameOf(chosen.digest)} has ${manifest.size} bytes, not the declared ${chosen.size}`,
        { about: chosen.digest },
      );
    }
    return manifest;
  }

  async referrers(subject: Digest): Promise<readonly Descriptor[]> {
    return (await this.referrersFromApi(subject)) ?? (await this.referrersFromTag(subject));
  }

  blob(descriptor: Descriptor, offset = 0): AsyncIterable<Uint8Array> {
    return fetchBlob(this.session, this.blobRequest(descriptor.digest), descriptor, offset);
  }

  async blobRange(descriptor: Descriptor, start: number, end: number): Promise<Uint8Array> {
    return await fetchRange(this.session, this.blobRequest(descriptor.digest), descriptor, { start, end });
  }

  async smallBlob(descriptor: Descriptor, limit: number): Promise<Uint8Array> {
    const about = this.nameOf(descriptor.digest);
    if (descriptor.size > limit) {
      throw new MosError("too-large", `${about} has ${descriptor.size} bytes; the limit is ${limit}`, {
        about,
      });
    }
    const pieces: Uint8Array[] = [];
    // Copied, because a piece's memory is used again.
    for await (const piece of this.blob(descriptor)) pieces.push(Uint8Array.from(piece));
    const bytes = Buffer.concat(pieces, descriptor.size);
    checkDigest(bytes, descriptor.digest, about);
    return bytes;
  }

  async hasManifest(reference: string): Promise<boolean> {
    return (await this.headManifest(reference)) !== undefined;
  }

  async putBlob(descriptor: Descriptor, open: () => AsyncIterable<Uint8Array>): Promise<"sent" | "present"> {
    const doing = `cannot push ${this.nameOf(descriptor.digest)}`;
    if (await this.hasBlob(descriptor, doing)) return "present";
    const start = this.request("POST", "blobs/uploads/", doing, "push");
    const started = await this.session.request(start);
    if (started.status !== 202) throw await this.session.refusal(start, started, "push-failed");
    await started.discard();
    const location = resolveLocation(started, doing);
    // Not through searchParams: the registry's own part of the query is sent back as it came.
    location.search = `${location.search === "" ? "?" : `${location.search}&`}digest=${descriptor.digest}`;
    const upload = {
      ...start,
      method: "PUT" as const,
      to: location,
      headers: { "Content-Type": "application/octet-stream" },
      body: { length: descriptor.size, open },
      answerMs: this.session.http.limits.storeMs,
    };
    const stored = await this.session.request(upload);
    if (stored.status !== 201) throw await this.session.refusal(upload, stored, "push-failed");
    await stored.discard();
    return "sent";
  }

  async putManifest(bytes: Uint8Array, mediaType: string, tag?: string): Promise<Digest> {
    const digest = digestOf(bytes);
    const subject = mediaType === mediaTypes.manifest ? subjectOf(bytes) : undefined;
    if ((await this.headManifest(tag ?? digest)) !== digest) {
      const stored = await this.sendManifest(bytes, mediaType, tag ?? digest);
      // Distribution specification 1.1: without this header the registry does not list referrers by itself.
      if (subject === undefined || stored.header("oci-subject") === subject) return digest;
    }
    if (subject !== undefined && (await this.referrersFromApi(subject)) === undefined) {
      await this.addToTag(subject, referrerDescriptor(bytes, mediaType));
    }
    return digest;
  }

  private nameOf(reference: string): string {
    return `${this.name}${isDigest(reference) ? "@" : ":"}${reference}`;
  }

  private request(
    method: RegistryRequest["method"],
    path: string,
    doing: string,
    access: RegistryRequest["access"] = "pull",
  ): RegistryRequest {
    return { method, to: `/v2/${this.repository}/${path}`, repository: this.repository, access, doing };
  }

  private blobRequest(digest: Digest): RegistryRequest {
    return this.request("GET", `blobs/${digest}`, `cannot fetch ${this.nameOf(digest)}`);
  }

  private async fetchManifest(reference: string, types = ociTypes): Promise<FetchedManifest> {
    const about = this.nameOf(reference);
    const request = {
      ...this.request("GET", `manifests/${reference}`, `cannot fetch ${about}`),
      headers: { Accept: types.join(", ") },
    };
    const response = await this.session.request(request);
    if (response.status !== 200) {
      const code = response.status === 404 ? "not-found" : "registry-refused";
      throw await this.session.refusal(request, response, code);
    }
    const mediaType = await manifestType(response, types, request.doing, about);
    const bytes = await response.all(limits.manifest);
    const digest = digestOf(bytes);
    if (isDigest(reference)) checkDigest(bytes, reference, about);
    const claimed = response.header("docker-content-digest");
    if (claimed?.startsWith("sha256:") && claimed !== digest) {
      throw new MosError("digest-mismatch", `${about} has the digest ${digest}, not the one it came with`, {
        about,
      });
    }
    return { digest, size: bytes.length, mediaType, bytes };
  }

  /** The digest of a manifest, undefined when it is not there or the registry does not say. */
  private async headManifest(reference: string): Promise<string | undefined> {
    const request = {
      ...this.request("HEAD", `manifests/${reference}`, `cannot look for ${this.nameOf(reference)}`),
      headers: { Accept: ociTypes.join(", ") },
    };
    const response = await this.session.request(request);
    if (response.status === 404) {
      await response.discard();
      return undefined;
    }
    if (response.status !== 200) throw await this.session.refusal(request, response, "registry-refused");
    await response.discard();
    return response.header("docker-content-digest") ?? (isDigest(reference) ? reference : "");
  }

  private async hasBlob({ digest, size }: Descriptor, doing: string): Promise<boolean> {
    const request = this.request("HEAD", `blobs/${digest}`, doing, "push");
    const response = await this.session.request(request);
    if (response.status !== 200 && response.status !== 404) {
      throw await this.session.refusal(request, response, "push-failed");
    }
    await response.discard();
    const length = response.header("content-length");
    if (response.status === 200 && length !== undefined && Number(length) !== size) {
      throw new MosError("size-mismatch", `${doing}: it is there with ${length} bytes, not ${size}`, {
        about: digest,
      });
    }
    return response.status === 200;
  }

  private async sendManifest(bytes: Uint8Array, mediaType: string, reference: string): Promise<HttpResponse> {
    const request = {
      ...this.request("PUT", `manifests/${reference}`, `cannot push ${this.nameOf(reference)}`, "push"),
      headers: { "Content-Type": mediaType },
      body: { length: bytes.length, open: () => piecesOf(bytes) },
    };
    const response = await this.session.request(request);
    if (response.status !== 201) throw await this.session.refusal(request, response, "push-failed");
    await response.discard();
    return response;
  }

  /** The referrers that the API lists; undefined when the registry has no such API. */
  private async referrersFromApi(subject: Digest): Promise<readonly Descriptor[] | undefined> {
    const about = this.nameOf(subject);
    const found: Descriptor[] = [];
    let request = {
      ...this.request("GET", `referrers/${subject}`, `cannot list the referrers of ${about}`),
      headers: { Accept: mediaTypes.index },
    };
    for (let page = 0; page < this.session.http.limits.pages; page++) {
      const response = await this.session.request(request);
      const isIndex = contentType(response) === mediaTypes.index;
      if (
        page === 0 &&
        ([400, 404, 405].includes(response.status) || (response.status === 200 && !isIndex))
      ) {
        await response.discard();
        return undefined;
      }
      if (response.status !== 200) throw await this.session.refusal(request, response, "registry-refused");
      found.push(...parseIndex(await response.all(limits.manifest), `referrers of ${about}`).manifests);
      const next = nextPage(response);
      if (next === undefined) return found;
      request = { ...request, to: next };
    }
    throw new MosError("too-large", `${request.doing}: the list does not end`, { about });
  }

  private async tagIndex(subject: Digest): Promise<Uint8Array | undefined> {
    try {
      const { bytes, mediaType } = await this.fetchManifest(referrersTag(subject));
      if (mediaType === mediaTypes.index) return bytes;
    } catch (error) {
      if (error instanceof MosError && error.code === "not-found") return undefined;
      throw error;
    }
    const about = this.nameOf(referrersTag(subject));
    throw new MosError("document-invalid", `${about} is no index: it cannot list referrers`, { about });
  }

  private async referrersFromTag(subject: Digest): Promise<readonly Descriptor[]> {
    const index = await this.tagIndex(subject);
    return index === undefined ? [] : parseIndex(index, this.nameOf(referrersTag(subject))).manifests;
  }

  /** Reads, adds, writes, and looks again: registries cannot do this in one step, and others may do the same. */
  private async addToTag(subject: Digest, referrer: Descriptor): Promise<void> {
    for (let attempt = 0; attempt < tagAttempts; attempt++) {
      const changed = addReferrer(await this.tagIndex(subject), referrer);
      if (changed === undefined) return;
      await this.sendManifest(changed, mediaTypes.index, referrersTag(subject));
    }
    if (addReferrer(await this.tagIndex(subject), referrer) === undefined) return;
    throw new MosError(
      "push-failed",
      `cannot list ${this.nameOf(referrer.digest)} as a referrer: others keep writing ${referrersTag(subject)}`,
      { about: this.name },
    );
  }
}

async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function checkDigest(bytes: Uint8Array, expected: Digest, about: string): void {
  const actual = digestOf(bytes);
  if (actual === expected) return;
  throw new MosError("digest-mismatch", `${about} was answered with content of the digest ${actual}`, {
    about,
  });
}
