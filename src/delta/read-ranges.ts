// Reads many ranges of one blob, several at once, and gives them in order. Memory is bounded: so many pieces of so
// many bytes are under way, whatever the ranges are.
import type { Descriptor } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";

/** Bytes `start` to `end` (not included) of a blob. */
interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Requests that are under way at once. */
const underWay = 6;
/** Bytes of one request; together at most 6 MiB are in memory. */
const requestBytes = 1024 * 1024;

/** Long ranges in pieces of one request each. */
function* requestsOf(ranges: Iterable<ByteRange>): Generator<ByteRange> {
  for (const { start, end } of ranges) {
    for (let at = start; at < end; at += requestBytes) {
      yield { start: at, end: Math.min(end, at + requestBytes) };
    }
  }
}

/**
 * The bytes of ranges, in order and in pieces; NOT verified.
 * @throws MosError of the first request that failed
 */
export async function* readRanges(
  images: Pick<Repository, "blobRange">,
  layer: Descriptor,
  ranges: Iterable<ByteRange>,
): AsyncGenerator<{ readonly start: number; readonly bytes: Uint8Array }> {
  const requests = requestsOf(ranges);
  const queue: { readonly start: number; readonly bytes: Promise<Uint8Array> }[] = [];
  const ask = (): void => {
    const next = requests.next();
    if (next.done === true) return;
    const { start, end } = next.value;
    const bytes = images.blobRange(layer, start, end);
    // Awaited in its turn; until then a failure must not count as unhandled.
    bytes.catch(() => undefined);
    queue.push({ start, bytes });
  };
  try {
    for (let i = 0; i < underWay; i++) ask();
    for (let first = queue.shift(); first !== undefined; first = queue.shift()) {
      const bytes = await first.bytes;
      ask();
      yield { start: first.start, bytes };
    }
  } finally {
    // Whoever leaves early leaves no request behind.
    await Promise.allSettled(queue.map(({ bytes }) => bytes));
  }
}
