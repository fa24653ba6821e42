// Requests to one registry: its address, who asks (auth.ts), and what a refused request is called.
import type { MosError } from "../errors/mos-error.ts";
import { authorize, unauthorized } from "./auth.ts";
import { credentialFiles, findCredential } from "./credentials.ts";
import { type DirectAnswer, directGet } from "./direct-get.ts";
import { HttpClient, type HttpOptions, type HttpRequest, type HttpResponse } from "./http.ts";
import type { RateLimit } from "./rate-limit.ts";
import { type Hop, isRedirect, nextHop } from "./redirect.ts";
import type { Scheme } from "./reference.ts";
import { refusal } from "./registry-answer.ts";

export interface RegistryAddress {
  readonly scheme: Scheme;
  /** `host` or `host:port`. */
  readonly authority: string;
}

export interface SessionOptions extends HttpOptions {
  /** Files to look for credentials in; by default those of containers-auth.json(5). */
  readonly credentialFiles?: readonly string[];
  /** Of all blobs together. */
  readonly rate?: RateLimit;
}

export interface RegistryRequest {
  readonly method: HttpRequest["method"];
  /** Path under the registry, or the whole URL that it gave for an upload. */
  readonly to: string | URL;
  readonly repository: string;
  readonly access: "pull" | "push";
  /** Begins an error's sentence: `cannot fetch …`. */
  readonly doing: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Opened again when the request has to be repeated with credentials. */
  readonly body?: { readonly length: number; readonly open: () => AsyncIterable<Uint8Array> };
  readonly answerMs?: number;
}

/** One registry, shared by all repositories of it: their connections are used again. */
export class Session {
  readonly authority: string;
  readonly http: HttpClient;
  private readonly rate: RateLimit | undefined;
  private readonly base: URL;
  private readonly files: readonly string[];
  /** Authorization headers by repository and access. */
  private readonly authorizations = new Map<string, string>();

  constructor({ scheme, authority }: RegistryAddress, options: SessionOptions = {}) {
    this.authority = authority;
    this.base = new URL(`${scheme}://${authority}`);
    this.http = new HttpClient(options);
    this.rate = options.rate;
    this.files = options.credentialFiles ?? credentialFiles(process.env);
  }

  /** Waits until so many bytes of a blob may be used, as far as there is a limit. */
  async received(bytes: number): Promise<void> {
    await this.rate?.take(bytes, this.http.signal);
  }

  /**
   * Sends a request, with credentials when the registry asks for them. Any status but 401 is for the caller.
   * @throws MosError `registry-unauthorized`, `registry-unreachable`, `registry-timeout`, `registry-invalid`
   */
  async request(request: RegistryRequest): Promise<HttpResponse> {
    const url = new URL(request.to, this.base);
    // The place of an upload may be another machine's: the registry's credentials are not for it.
    if (url.origin !== this.base.origin) return await this.send(request, url, undefined);
    const first = await this.send(request, url, this.authorizations.get(keyOf(request)));
    // After a redirect to elsewhere it is not this registry that asks: it gets nothing.
    if (first.status !== 401 || first.url.origin !== this.base.origin) return first;
    await first.discard();
    const { authorization, hasCredential } = await this.answerChallenge(
      request,
      first.header("www-authenticate"),
    );
    const second = await this.send(request, url, authorization);
    if (second.status === 401) {
      await second.discard();
      throw unauthorized(
        { doing: request.doing, authority: this.authority },
        hasCredential ? "does not accept the credentials" : "wants credentials",
      );
    }
    this.authorizations.set(keyOf(request), authorization);
    return second;
  }

  /**
   * Sends a GET for a large body over a connection of its own, with redirects and credentials as `request` has them.
   * Undefined when the answer is not of the plainest kind (direct-get.ts), or there is a proxy to go through: then
   * `request` is the way.
   * @throws MosError as `request`
   */
  async direct(request: RegistryRequest): Promise<DirectAnswer | undefined> {
    const url = new URL(request.to, this.base);
    const first = await this.getDirect(request, url, this.authorizations.get(keyOf(request)));
    if (first?.kind !== "signpost") return first;
    if (first.url.origin !== this.base.origin) return undefined;
    const { authorization } = await this.answerChallenge(request, first.header("www-authenticate"));
    const second = await this.getDirect(request, url, authorization);
    if (second?.kind === "signpost") return undefined;
    this.authorizations.set(keyOf(request), authorization);
    return second;
  }

  /** Follows redirects to their end: a signpost that this returns is a 401. */
  private async getDirect({ doing, headers }: RegistryRequest, url: URL, authorization: string | undefined) {
    const { limits, ca, proxies, signal } = this.http;
    signal?.throwIfAborted();
    const start = { doing, host: url.host, limits };
    let hop: Hop = { url, authorization };
    for (let followed = 0; ; followed++) {
      if (proxies(hop.url) !== undefined) return undefined;
      const credentials = hop.authorization === undefined ? {} : { Authorization: hop.authorization };
      const request = { url: hop.url, headers: { ...headers, ...credentials }, ca, signal };
      const answer = await directGet(request, { ...start, host: hop.url.host });
      if (answer?.kind !== "signpost" || !isRedirect(answer.status)) return answer;
      hop = nextHop(answer, hop, followed, start);
    }
  }

  /** The Authorization header that answers a 401 of this registry. */
  private async answerChallenge(
    { repository, access, doing }: RegistryRequest,
    challenge: string | undefined,
  ): Promise<{ readonly authorization: string; readonly hasCredential: boolean }> {
    const credential = await findCredential(this.files, this.authority, repository);
    const authorization = await authorize(this.http, challenge, credential, {
      scheme: this.base.protocol === "https:" ? "https" : "http",
      authority: this.authority,
      scope: `repository:${repository}:${access === "push" ? "pull,push" : "pull"}`,
      doing,
    });
    return { authorization, hasCredential: credential !== undefined };
  }

  /** The error of an answer with a status that was not expected; its body is read, as far as it is shown. */
  async refusal(
    request: RegistryRequest,
    response: HttpResponse,
    code: "registry-refused" | "push-failed" | "not-found",
  ): Promise<MosError> {
    const body = await response.beginning(this.http.limits.errorBytes);
    const path = new URL(request.to, this.base).pathname;
    return refusal(code, request.doing, `${request.method} ${path}`, response.status, body, this.authority);
  }

  private async send(
    { method, doing, headers, body, answerMs }: RegistryRequest,
    url: URL,
    authorization: string | undefined,
  ): Promise<HttpResponse> {
    return await this.http.exchange({
      method,
      url,
      doing,
      authorization,
      ...(headers === undefined ? {} : { headers }),
      ...(body === undefined ? {} : { body: { length: body.length, pieces: body.open() } }),
      ...(answerMs === undefined ? {} : { answerMs }),
    });
  }
}

/** Access to one repository does not open another, and reading is not writing. */
function keyOf({ access, repository }: RegistryRequest): string {
  return `${access} ${repository}`;
}
