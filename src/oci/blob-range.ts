// Fetching a part of a blob (RFC 9110, section 14): exactly the part that was asked for, or an error. Whoever asks
// knows what the bytes must be; a registry that sends the whole blob instead is not listened to.
import { MosError } from "../errors/mos-error.ts";
import type { Descriptor } from "./model.ts";
import type { RegistryRequest, Session } from "./session.ts";

/** Bytes `start` to `end`, not included. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * @throws MosError `registry-invalid` when the registry does not send that part and nothing else, `not-found`,
 * `registry-*`
 */
export async function fetchRange(
  session: Session,
  request: RegistryRequest,
  { size }: Descriptor,
  { start, end }: Range,
): Promise<Uint8Array> {
  const headers = { "Accept-Encoding": "identity", Range: `bytes=${start}-${end - 1}` };
  const asked = { ...request, headers };
  const response = await session.request(asked);
  try {
    const { host } = response.url;
    const invalid = (what: string): MosError =>
      new MosError("registry-invalid", `${request.doing}: ${host} ${what}`, { about: host });
    if (response.status === 200) throw invalid("does not know ranges");
    if (response.status !== 206) {
      throw await session.refusal(
        asked,
        response,
        response.status === 404 ? "not-found" : "registry-refused",
      );
    }
    if ((response.header("content-encoding") ?? "identity") !== "identity") {
      throw invalid("sent it in a coding that was not asked for");
    }
    const sent = /^bytes ([0-9]{1,16})-([0-9]{1,16})\/([0-9]{1,16}|\*)$/.exec(
      response.header("content-range") ?? "",
    );
    const [, first = "", last = "", total = ""] = sent ?? [];
    if (sent === null || Number(first) !== start || Number(last) !== end - 1) {
      throw invalid("sent another part than the one that was asked for");
    }
    if (total !== "*" && Number(total) !== size) throw invalid(`has it with ${total} bytes, not ${size}`);
    return await receive(response.pieces(), end - start, invalid);
  } finally {
    response.abandon();
  }
}

async function receive(
  pieces: AsyncIterable<Uint8Array>,
  length: number,
  invalid: (what: string) => MosError,
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for await (const piece of pieces) {
    if (at + piece.length > length) throw invalid("sent more than the part that was asked for");
    bytes.set(piece, at);
    at += piece.length;
  }
  if (at < length) throw invalid("sent less than the part that was asked for");
  return bytes;
}
