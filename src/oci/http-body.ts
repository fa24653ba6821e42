// Bodies of HTTP, received and sent piece by piece, each within its pace (pace.ts). Node's streams are read and
// written directly: web streams cost more than the hash of what they carry.
import type { ClientRequest, IncomingMessage } from "node:http";
import { MosError } from "../errors/mos-error.ts";
import type { RegistryLimits } from "./limits.ts";
import { Pace } from "./pace.ts";

/** What a request is for, for its errors, and how long it may take. */
export interface RequestAbout {
  /** Begins an error's sentence: `cannot fetch …`. */
  readonly doing: string;
  /** Host and port. */
  readonly host: string;
  readonly limits: RegistryLimits;
}

/** The error of a transfer that did not keep its pace. */
export function tooSlow({ doing, host, limits }: RequestAbout): MosError {
  return new MosError(
    "registry-timeout",
    `${doing}: ${host} sent nothing for ${limits.idleMs / 1000} s, or less than ${limits.minBytesPerSecond} bytes per second over ${limits.rateWindowMs / 1000} s`,
    { about: host },
  );
}

/** The error of a connection that ended before the body did. */
export function brokenConnection({ doing, host }: RequestAbout, cause?: unknown): MosError {
  return new MosError("registry-unreachable", `${doing}: the connection to ${host} broke in the middle`, {
    about: host,
    hint: "Check the network and try again; what was fetched so far is kept.",
    cause,
  });
}

/** Waits until there is something to read, the end, or an error. */
function nextReadable(message: IncomingMessage, ms: number): Promise<"ready" | "timeout"> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      message
        .off("readable", onReadable)
        .off("end", onReadable)
        .off("close", onReadable)
        .off("error", onError);
      settle();
    };
    const onReadable = (): void => finish(() => resolve("ready"));
    const onError = (error: unknown): void => finish(() => reject(error));
    const timer = setTimeout(() => finish(() => resolve("timeout")), ms);
    message.on("readable", onReadable).on("end", onReadable).on("close", onReadable).on("error", onError);
  });
}

/** Waits within the pace. @throws MosError `registry-timeout`, `registry-unreachable` */
async function waitReadable(message: IncomingMessage, pace: Pace, about: RequestAbout): Promise<void> {
  const start = performance.now();
  let outcome: "ready" | "timeout";
  try {
    outcome = await nextReadable(message, pace.patienceMs);
  } catch (error) {
    // Node's own word for a body that ends before its Content-Length is a reset connection.
    throw error instanceof MosError ? error : brokenConnection(about, error);
  }
  if (outcome === "timeout" || !pace.waitedFor(performance.now() - start)) throw tooSlow(about);
}

/**
 * The pieces of a received body. Leaving the loop early closes the connection.
 * @throws MosError `registry-timeout`, `registry-unreachable` when the connection breaks before the body's end
 */
export async function* receive(message: IncomingMessage, about: RequestAbout): AsyncGenerator<Buffer> {
  const pace = new Pace(about.limits);
  try {
    for (;;) {
      const piece: unknown = message.read();
      if (Buffer.isBuffer(piece)) {
        pace.moved(piece.length);
        yield piece;
      } else if (message.readableEnded) {
        break;
      } else if (message.destroyed) {
        throw brokenConnection(about);
      } else {
        await waitReadable(message, pace, about);
      }
    }
    if (!message.complete) throw brokenConnection(about);
  } finally {
    // After the whole body this does nothing, and the connection is used again.
    message.destroy();
  }
}

/** A body to send: exactly `length` bytes. */
export interface OutgoingBody {
  readonly length: number;
  readonly pieces: AsyncIterable<Uint8Array>;
}

/**
 * Writes a piece and waits until the kernel has it: its memory may be used again then. `stop` ends the wait.
 */
function written(
  request: ClientRequest,
  piece: Uint8Array,
  stop: Promise<unknown>,
  ms: number,
): Promise<"ready" | "timeout"> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("timeout"), ms);
    const onWritten = (): void => {
      clearTimeout(timer);
      resolve("ready");
    };
    request.write(piece, onWritten);
    stop.then(onWritten);
  });
}

/**
 * Sends a body and ends the request; stops when an answer or an error comes before the whole body was sent.
 * @param stopped settles with the answer or the error of the request
 * @returns whether the request is whole; one that is not keeps its connection, and with it this process, until it is
 * destroyed
 * @throws MosError `registry-timeout`; `size-mismatch` when the pieces are not `length` bytes; what they throw
 */
export async function send(
  request: ClientRequest,
  body: OutgoingBody,
  stopped: Promise<unknown>,
  about: RequestAbout,
): Promise<boolean> {
  const pace = new Pace(about.limits);
  let isStopped = false;
  const stop = stopped.then(
    () => {
      isStopped = true;
    },
    () => {
      isStopped = true;
    },
  );
  let sent = 0;
  for await (const piece of body.pieces) {
    if (isStopped) return false;
    sent += piece.length;
    if (sent > body.length) break;
    pace.moved(piece.length);
    const start = performance.now();
    const outcome = await written(request, piece, stop, pace.patienceMs);
    if (outcome === "timeout" || !pace.waitedFor(performance.now() - start)) throw tooSlow(about);
  }
  if (sent !== body.length) {
    if (isStopped) return false;
    throw new MosError(
      "size-mismatch",
      `${about.doing}: what is to be sent has ${sent > body.length ? "more" : "less"} than the ${body.length} bytes that its descriptor says`,
    );
  }
  // Also when the answer is here: it may be, before the pieces have said that there are no more.
  request.end();
  return true;
}

/**
 * A whole body in memory.
 * @throws MosError `too-large` beyond `limit` bytes, and what `receive` throws
 */
export async function receiveAll(
  message: IncomingMessage,
  limit: number,
  about: RequestAbout,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of receive(message, about)) {
    size += piece.length;
    if (size > limit) {
      throw new MosError("too-large", `${about.doing}: ${about.host} sent more than ${limit} bytes`, {
        about: about.host,
      });
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces, size);
}
