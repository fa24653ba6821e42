// HTTP as mos uses it: one exchange with limits on every wait, redirects under rules, connections kept for the
// next request. Knows nothing of registries.
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http";
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import { MosError } from "../errors/mos-error.ts";
import { connectionError } from "./connection-error.ts";
import { type OutgoingBody, type RequestAbout, receive, receiveAll, send } from "./http-body.ts";
import { defaultLimits, type RegistryLimits } from "./limits.ts";
import { environmentProxies, type Proxies, throughProxies } from "./proxy.ts";
import { isRedirect, nextHop } from "./redirect.ts";

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT";
  readonly url: URL;
  /** Begins an error's sentence: `cannot fetch …`. */
  readonly doing: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Value of the Authorization header; it is sent to this origin only. */
  readonly authorization?: string | undefined;
  readonly body?: OutgoingBody | undefined;
  /** Milliseconds until the answer's headers; `headersMs` when absent. */
  readonly answerMs?: number;
}

export interface HttpOptions {
  readonly limits?: RegistryLimits;
  /** PEM of the certificate authorities to trust; those of the system when absent. */
  readonly ca?: string;
  /** What to go through to a URL; by default what the environment says. */
  readonly proxies?: Proxies;
  /** Ends every exchange that has begun, and refuses others. */
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose headers are here and whose body is not yet. It must be read, discarded or abandoned. */
export class HttpResponse {
  readonly status: number;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  private readonly message: IncomingMessage;
  private readonly about: RequestAbout;

  constructor(message: IncomingMessage, url: URL, about: RequestAbout) {
    this.message = message;
    this.status = message.statusCode ?? 0;
    this.url = url;
    this.about = about;
  }

  /** A header by its lower-case name; of repeated ones Node keeps the first, or joins them with commas. */
  header(name: string): string | undefined {
    const value = this.message.headers[name];
    return typeof value === "string" ? value : value?.[0];
  }

  /** The pieces of the body. @throws MosError `registry-timeout`, `registry-unreachable` */
  pieces(): AsyncGenerator<Buffer> {
    return receive(this.message, this.about);
  }

  /** The whole body. @throws MosError `too-large` beyond `limit` bytes, and what `pieces` throws */
  async all(limit: number): Promise<Buffer> {
    return await receiveAll(this.message, limit, this.about);
  }

  /** Drops the body: a short one is read, so that the connection can be used again. */
  async discard(): Promise<void> {
    await this.beginning(this.about.limits.errorBytes);
  }

  /** Leaves the body where it is; unless it was read whole, the connection is closed. */
  abandon(): void {
    this.message.destroy();
  }

  /** The body as far as it comes within `limit` bytes and arrives at all: for messages. */
  async beginning(limit: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let size = 0;
    try {
      for await (const piece of this.pieces()) {
        pieces.push(piece);
        size += piece.length;
        if (size > limit) break;
      }
    } catch (error) {
      if (!(error instanceof MosError)) throw error;
    }
    return Buffer.concat(pieces).subarray(0, limit);
  }
}

/** Makes requests and keeps connections. */
export class HttpClient {
  readonly limits: RegistryLimits;
  readonly ca: string | undefined;
  readonly proxies: Proxies;
  readonly signal: AbortSignal | undefined;
  private readonly httpAgent: HttpAgent;
  private httpsAgent: Promise<HttpsAgent> | undefined;

  constructor({ limits = defaultLimits, ca, proxies, signal }: HttpOptions = {}) {
    this.limits = limits;
    this.ca = ca;
    this.proxies = proxies ?? environmentProxies(process.env);
    this.signal = signal;
    this.httpAgent = this.makeHttpAgent(true);
  }

  private makeHttpAgent(keepAlive: boolean): HttpAgent {
    return throughProxies(new HttpAgent({ keepAlive }), "http", this.proxies, this.limits);
  }

  /**
   * Sends a request and waits for the answer's headers. GET and HEAD follow redirects, without the credentials
   * once they lead to another origin, and never from https to http.
   * @throws MosError `registry-unreachable`, `registry-timeout`, `registry-invalid`, `proxy-refused`
   */
  async exchange(request: HttpRequest): Promise<HttpResponse> {
    const start = { doing: request.doing, host: request.url.host, limits: this.limits };
    let current = request;
    for (let followed = 0; ; followed++) {
      const response = await this.exchangeOnce(current);
      const canFollow = request.method === "GET" || request.method === "HEAD";
      if (!canFollow || !isRedirect(response.status)) return response;
      await response.discard();
      current = { ...current, ...nextHop(response, current, followed, start) };
    }
  }

  /** One exchange; once more when a kept connection turns out to have been closed meanwhile. */
  private async exchangeOnce(request: HttpRequest): Promise<HttpResponse> {
    this.signal?.throwIfAborted();
    const about = { doing: request.doing, host: request.url.host, limits: this.limits };
    const first = await this.start(request);
    try {
      return new HttpResponse(await this.answer(first, request, about), request.url, about);
    } catch (error) {
      const isStale = first.reusedSocket && request.body === undefined;
      if (!isStale || error instanceof MosError) throw connectionError(error, about.doing, about.host);
    }
    try {
      const second = await this.start(request, false);
      return new HttpResponse(await this.answer(second, request, about), request.url, about);
    } catch (error) {
      throw connectionError(error, about.doing, about.host);
    }
  }

  private async start(
    { method, url, headers, authorization, body }: HttpRequest,
    keepAlive = true,
  ): Promise<ClientRequest> {
    const options: RequestOptions = {
      method,
      ...(this.signal === undefined ? {} : { signal: this.signal }),
      maxHeaderSize: this.limits.headerBytes,
      headers: {
        "User-Agent": "mos",
        ...headers,
        ...(authorization === undefined ? {} : { Authorization: authorization }),
        ...(body === undefined
          ? method === "POST" || method === "PUT"
            ? { "Content-Length": "0" }
            : {}
          : { "Content-Length": String(body.length) }),
      },
    };
    if (url.protocol === "http:") {
      return httpRequest(url, { ...options, agent: keepAlive ? this.httpAgent : this.makeHttpAgent(false) });
    }
    const { request } = await import("node:https");
    if (!keepAlive) return request(url, { ...options, agent: await this.makeHttpsAgent(false) });
    this.httpsAgent ??= this.makeHttpsAgent(true);
    return request(url, { ...options, agent: await this.httpsAgent });
  }

  private async makeHttpsAgent(keepAlive: boolean): Promise<HttpsAgent> {
    const [{ Agent }, { trustedAuthorities }] = await Promise.all([
      import("node:https"),
      import("./tls-trust.ts"),
    ]);
    const authorities = trustedAuthorities(this.ca);
    const agent = new Agent({ keepAlive, ...(authorities === undefined ? {} : { ca: authorities }) });
    return throughProxies(agent, "https", this.proxies, this.limits);
  }

  private async answer(
    request: ClientRequest,
    { body, answerMs = this.limits.headersMs }: HttpRequest,
    about: RequestAbout,
  ): Promise<IncomingMessage> {
    const answered = answerOf(request);
    // Looked at below; until then a failure must not count as unhandled.
    answered.catch(() => undefined);
    const connecting = deadline(request, this.limits.connectMs, about, "cannot connect to it");
    try {
      await Promise.race([connected(request), answered]);
    } finally {
      connecting();
    }
    let isWhole = true;
    if (body === undefined) request.end();
    else {
      try {
        isWhole = await send(request, body, answered, about);
      } catch (error) {
        request.destroy();
        throw error;
      }
    }
    const waiting = deadline(request, answerMs, about, "it does not answer");
    try {
      const message = await answered;
      if (!isWhole) for (const how of ["end", "close"]) message.once(how, () => request.destroy());
      return message;
    } finally {
      waiting();
    }
  }
}

/** Resolves when the connection is ready for the request, at once when a kept one is used. */
function connected(request: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    request.once("socket", (socket) => {
      if (!socket.connecting && !("encrypted" in socket)) resolve();
      else if (request.reusedSocket) resolve();
      else socket.once("encrypted" in socket ? "secureConnect" : "connect", resolve);
    });
  });
}

function answerOf(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once("response", resolve);
    // Stays for the life of the request: errors after the answer reach the reader of the body.
    request.on("error", reject);
    request.once("close", () => reject(Object.assign(new Error("closed"), { code: "ECONNRESET" })));
  });
}

/** Destroys the request when time is up. @returns what ends the watch */
function deadline(request: ClientRequest, ms: number, about: RequestAbout, what: string): () => void {
  const timer = setTimeout(() => {
    request.destroy(
      new MosError("registry-timeout", `${about.doing}: ${about.host}: ${what} within ${ms / 1000} s`, {
        about: about.host,
      }),
    );
  }, ms);
  return () => clearTimeout(timer);
}
