// Fetching one blob: whatever the server says about lengths and ranges is checked against what was signed or
// declared before the first byte is passed on, and a connection that breaks is continued where it stopped.
import { MosError } from "../errors/mos-error.ts";
import type { DirectAnswer } from "./direct-get.ts";
import type { HttpResponse } from "./http.ts";
import type { Descriptor } from "./model.ts";
import type { RegistryRequest, Session } from "./session.ts";

/** Bytes from which on a connection of its own is worth its making. */
const directBytes = 1024 * 1024;

type BlobAnswer = HttpResponse | DirectAnswer;

function wrongSize(request: RegistryRequest, { digest, size }: Descriptor, what: string): MosError {
  return new MosError("size-mismatch", `${request.doing}: it has ${what}, not the declared ${size} bytes`, {
    about: digest,
  });
}

/** Asks for the blob from `offset`. */
async function open(
  session: Session,
  request: RegistryRequest,
  descriptor: Descriptor,
  offset: number,
): Promise<BlobAnswer> {
  const { size } = descriptor;
  const asked = {
    ...request,
    // The coded form would have other lengths, and a decoder is one more thing to attack.
    headers: {
      "Accept-Encoding": "identity",
      ...(offset === 0 ? {} : { Range: `bytes=${offset}-${size - 1}` }),
    },
  };
  if (size - offset >= directBytes) {
    const direct = await session.direct(asked);
    if (direct !== undefined) return direct;
  }
  const response = await session.request(asked);
  if (response.status === 416 && offset > 0) {
    // What it has is shorter than what we have of it, or it takes no ranges of it: all of it, then.
    await response.discard();
    return await open(session, request, descriptor, 0);
  }
  if (response.status === 200 || (response.status === 206 && offset > 0)) return response;
  throw await session.refusal(asked, response, response.status === 404 ? "not-found" : "registry-refused");
}

/** Where the body begins: at `offset` (206) or at 0, when the server does not know ranges (200). */
function checkHeaders(
  request: RegistryRequest,
  response: BlobAnswer,
  descriptor: Descriptor,
  offset: number,
): number {
  const { size } = descriptor;
  const invalid = (what: string): never => {
    throw new MosError("registry-invalid", `${request.doing}: ${response.url.host} ${what}`, {
      about: response.url.host,
    });
  };
  const encoding = response.header("content-encoding");
  if (encoding !== undefined && encoding !== "identity")
    invalid("sent it in a coding that was not asked for");
  const start = response.status === 206 ? offset : 0;
  if (response.status === 206) {
    // RFC 9110 section 14.4
    const range = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16}|\*)$/.exec(
      response.header("content-range") ?? "",
    );
    if (range === null) return invalid("sent a part without saying which");
    const [, from, to, total] = range;
    if (Number(from) !== offset) return invalid("sent another part than the one that was asked for");
    if (total !== "*" && Number(total) !== size) throw wrongSize(request, descriptor, `${total} bytes`);
    if (Number(to) !== size - 1) throw wrongSize(request, descriptor, `${Number(to) + 1} bytes or more`);
  }
  const length = response.header("content-length");
  if (length !== undefined && Number(length) !== size - start) {
    throw wrongSize(request, descriptor, `${Number(length) + start} bytes`);
  }
  return start;
}

/**
 * The bytes of a blob from `offset`, in pieces; each is valid only until the next one is asked for.
 * @throws MosError `size-mismatch` before more than `size` bytes were passed on, or when fewer come; `not-found`,
 *   `registry-*`
 */
export async function* fetchBlob(
  session: Session,
  request: RegistryRequest,
  descriptor: Descriptor,
  offset: number,
): AsyncGenerator<Uint8Array> {
  let at = offset;
  for (let breaks = 0; at < descriptor.size; ) {
    const before = at;
    try {
      for await (const piece of fetchOnce(session, request, descriptor, at)) {
        at += piece.length;
        yield piece;
      }
      return;
    } catch (error) {
      session.http.signal?.throwIfAborted();
      // A connection that broke before anything came is not worth another one: the registry is not there.
      const canContinue = error instanceof MosError && error.code === "registry-unreachable" && at > before;
      if (!canContinue || ++breaks > session.http.limits.resumes) throw error;
    }
  }
}

async function* fetchOnce(
  session: Session,
  request: RegistryRequest,
  descriptor: Descriptor,
  offset: number,
): AsyncGenerator<Uint8Array> {
  const response = await open(session, request, descriptor, offset);
  try {
    let at = checkHeaders(request, response, descriptor, offset);
    for await (const piece of response.pieces()) {
      const skip = Math.max(0, Math.min(piece.length, offset - at));
      at += piece.length;
      if (at > descriptor.size) throw wrongSize(request, descriptor, "more");
      if (skip < piece.length) {
        await session.received(piece.length - skip);
        yield skip === 0 ? piece : piece.subarray(skip);
      }
    }
    if (at < descriptor.size) throw wrongSize(request, descriptor, `${at} bytes`);
  } finally {
    response.abandon();
  }
}
