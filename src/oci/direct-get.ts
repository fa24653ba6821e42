// Fetching a large body without a copy and without garbage: the kernel writes into two buffers that are used in
// turn. node:http copies each piece into memory of its own, which costs more CPU than the hash of a layer allows
// and grows the process by the garbage of it. Only the plainest answer is taken (http-head.ts): 200 or 206 with a
// Content-Length; where a redirect or a 401 points is for the caller. For any other it asks in the ordinary way.
import { connect, type OnReadOpts, type Socket } from "node:net";
import { MosError } from "../errors/mos-error.ts";
import { connectionError } from "./connection-error.ts";
import { brokenConnection, type RequestAbout, tooSlow } from "./http-body.ts";
import { endOfHead, type HttpHead, parseHead, plainLength } from "./http-head.ts";
import { Pace } from "./pace.ts";
import { isRedirect } from "./redirect.ts";

/** Bytes of each of the two buffers: large enough that nothing but the bytes themselves costs time. */
const bufferBytes = 512 * 1024;

export interface DirectRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Certificate authorities, PEM; for https. */
  readonly ca: string | undefined;
  /** Ends the exchange. */
  readonly signal: AbortSignal | undefined;
}

interface Head {
  readonly status: number;
  readonly url: URL;
  header(name: string): string | undefined;
}

/** An answer that says where else to ask, or as whom. Its body is not read, and its connection is closed. */
interface DirectSignpost extends Head {
  readonly kind: "signpost";
}

/** A body of known length; it must be read or abandoned. */
export interface DirectAnswer extends Head {
  readonly kind: "body";
  /**
   * The pieces of the body; each is valid only until the next one is asked for.
   * @throws MosError `registry-timeout`, `registry-unreachable`
   */
  pieces(): AsyncGenerator<Buffer>;
  abandon(): void;
}

/** What the socket writes into, and what has come so far. */
class Inbox {
  private readonly buffers = [
    Buffer.allocUnsafeSlow(bufferBytes),
    Buffer.allocUnsafeSlow(bufferBytes),
  ] as const;
  private current: 0 | 1 = 0;
  private used = 0;
  /** Bytes received in all. */
  total = 0;
  /** Bytes that are expected in all, once that is known. */
  expected = Number.POSITIVE_INFINITY;
  /** A full buffer that the reader has not taken yet. Nothing more is received before it is. */
  private full: Buffer | undefined;
  isEnded = false;
  error: unknown;
  private wake: () => void = () => undefined;

  /** Where the next bytes go. */
  next(): Buffer {
    return this.buffers[this.current].subarray(this.used);
  }

  /** @returns false when the socket must pause */
  received(bytes: number): boolean {
    this.used += bytes;
    this.total += bytes;
    const isEnough = this.used === bufferBytes || this.total >= this.expected;
    if (isEnough) this.turn();
    if (isEnough || this.expected === Number.POSITIVE_INFINITY) this.wake();
    return !isEnough;
  }

  end(error?: unknown): void {
    this.isEnded = true;
    this.error ??= error;
    this.wake();
  }

  private turn(): void {
    this.full = this.buffers[this.current].subarray(0, this.used);
    this.current = this.current === 0 ? 1 : 0;
    this.used = 0;
  }

  get hasPiece(): boolean {
    return this.full !== undefined;
  }

  /** What has come so far, without taking it: for the head. */
  peek(): Buffer {
    return this.full ?? this.buffers[this.current].subarray(0, this.used);
  }

  /** Takes what has come: a full buffer, or at the end what there is. */
  take(): Buffer {
    if (this.full === undefined) this.turn();
    const piece = this.full ?? Buffer.alloc(0);
    this.full = undefined;
    return piece;
  }

  /** Waits for the next sign of life, `ms` at most. */
  async wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = () => undefined;
  }
}

async function open({ url, ca, signal }: DirectRequest, inbox: Inbox): Promise<Socket> {
  // URL has brackets around an IPv6 address, sockets have none.
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const onread: OnReadOpts = {
    buffer: () => inbox.next(),
    callback: (bytes) => inbox.received(bytes),
  };
  const stop = signal === undefined ? {} : { signal };
  if (url.protocol === "http:") {
    return connect({ host, port: url.port === "" ? 80 : Number(url.port), onread, ...stop });
  }
  const [tls, { trustedAuthorities }] = await Promise.all([import("node:tls"), import("./tls-trust.ts")]);
  const authorities = trustedAuthorities(ca);
  // Not a literal argument: Node takes onread here too (it is an option of the socket), its types do not say so.
  const options = {
    host,
    port: url.port === "" ? 443 : Number(url.port),
    ALPNProtocols: ["http/1.1"],
    // RFC 6066 section 3: no address as a server name.
    ...(/^[0-9.]+$|:/.test(host) ? {} : { servername: host }),
    ...(authorities === undefined ? {} : { ca: authorities }),
    onread,
    ...stop,
  };
  return tls.connect(options);
}

/** Rejects when the connection is not ready in time. */
function ready(socket: Socket, isTls: boolean, about: RequestAbout): Promise<void> {
  const { connectMs } = about.limits;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new MosError(
          "registry-timeout",
          `${about.doing}: ${about.host}: cannot connect to it within ${connectMs / 1000} s`,
          { about: about.host },
        ),
      );
    }, connectMs);
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      settle();
    };
    socket.once(isTls ? "secureConnect" : "connect", () => finish(resolve));
    socket.once("error", (error) => finish(() => reject(error)));
  });
}

function requestText({ url, headers }: DirectRequest): string {
  const lines = Object.entries({
    Host: url.host,
    "User-Agent": "mos",
    Connection: "close",
    ...headers,
  }).map(([name, value]) => {
    if (!/^[\t\x20-\x7e]*$/.test(value)) {
      throw new MosError("internal", `the header ${name} cannot be sent: it is not plain text`);
    }
    return `${name}: ${value}\r\n`;
  });
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

/** Waits for the head. Undefined when it is none that is taken here. */
async function receiveHead(
  inbox: Inbox,
  about: RequestAbout,
): Promise<{ readonly head: HttpHead; readonly length: number } | undefined> {
  const { headersMs, headerBytes } = about.limits;
  const until = performance.now() + headersMs;
  for (;;) {
    const end = endOfHead(inbox.peek());
    if (end > headerBytes || (end < 0 && inbox.total > headerBytes)) return undefined;
    if (end >= 0) {
      const head = parseHead(inbox.peek().subarray(0, end));
      return head === undefined ? undefined : { head, length: end };
    }
    if (inbox.isEnded) {
      // Something was said, then the connection was closed: whether that is HTTP is not decided here.
      if (inbox.total > 0 && inbox.error === undefined) return undefined;
      throw inbox.error ?? brokenConnection(about);
    }
    const left = until - performance.now();
    if (left <= 0) {
      throw new MosError(
        "registry-timeout",
        `${about.doing}: ${about.host}: it does not answer within ${headersMs / 1000} s`,
        { about: about.host },
      );
    }
    await inbox.wait(left);
  }
}

/** Waits for a full buffer or the end, within the pace. */
async function nextPiece(inbox: Inbox, pace: Pace, about: RequestAbout): Promise<void> {
  while (!inbox.hasPiece && !inbox.isEnded) {
    const [start, before] = [performance.now(), inbox.total];
    await inbox.wait(pace.patienceMs);
    const moved = inbox.total - before;
    pace.moved(moved);
    const isInTime = pace.waitedFor(performance.now() - start);
    if (!isInTime || (moved === 0 && !inbox.isEnded)) throw tooSlow(about);
  }
}

async function* receiveBody(
  socket: Socket,
  inbox: Inbox,
  headLength: number,
  about: RequestAbout,
): AsyncGenerator<Buffer> {
  const pace = new Pace(about.limits);
  let skip = headLength;
  let left = inbox.expected;
  while (left > 0) {
    let problem: unknown;
    if (!inbox.hasPiece && inbox.total < inbox.expected) {
      socket.resume();
      // What came before the problem is passed on first: it need not be fetched again.
      await nextPiece(inbox, pace, about).catch((error: unknown) => {
        problem = error;
      });
    }
    const whole = inbox.take();
    const piece = whole.subarray(skip, Math.min(whole.length, left));
    left -= Math.min(whole.length, left);
    skip = 0;
    if (piece.length > 0) yield piece;
    if (left > 0 && problem !== undefined) throw problem;
    if (left > 0 && inbox.isEnded && !inbox.hasPiece) throw brokenConnection(about, inbox.error);
  }
}

function headOf({ status, headers }: HttpHead, url: URL): Head {
  return { status, url, header: (name) => headers.get(name) };
}

/**
 * Sends a GET over a connection of its own.
 * @returns undefined when the answer is anything but a redirect, a 401, or a 200 or 206 with a Content-Length
 * @throws MosError `registry-unreachable`, `registry-timeout`
 */
export async function directGet(
  request: DirectRequest,
  about: RequestAbout,
): Promise<DirectAnswer | DirectSignpost | undefined> {
  const inbox = new Inbox();
  const socket = await open(request, inbox);
  const abandon = (): void => {
    socket.destroy();
  };
  try {
    socket.on("error", (error) => inbox.end(error));
    socket.on("end", () => inbox.end());
    socket.on("close", () => inbox.end());
    await ready(socket, request.url.protocol === "https:", about);
    socket.write(requestText(request), "latin1");
    const found = await receiveHead(inbox, about);
    const answer = found === undefined ? undefined : headOf(found.head, request.url);
    if (answer !== undefined && (isRedirect(answer.status) || answer.status === 401)) {
      abandon();
      return { kind: "signpost", ...answer };
    }
    const length = found === undefined ? undefined : plainLength(found.head);
    const isBody = answer?.status === 200 || answer?.status === 206;
    if (found === undefined || length === undefined || !isBody) {
      abandon();
      return undefined;
    }
    inbox.expected = found.length + length;
    const pieces = () => receiveBody(socket, inbox, found.length, about);
    return { kind: "body", ...answer, pieces, abandon };
  } catch (error) {
    abandon();
    throw connectionError(error, about.doing, about.host);
  }
}
