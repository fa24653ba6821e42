// The head of an HTTP/1.1 response (RFC 9112 sections 4 and 5): a strict parser for direct-get.ts, which takes
// only the plainest of answers; whatever this does not understand goes the ordinary way through node:http. Pure.

export interface HttpHead {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
}

const statusLine = /^HTTP\/1\.1 ([1-5][0-9]{2}) [\t\x20-\x7e]*$/;
const field = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?[ \t]*$/;

const end = Buffer.from("\r\n\r\n", "latin1");

/** Where the head of a response ends in the bytes so far, -1 when its end has not come yet. */
export function endOfHead(bytes: Buffer): number {
  const at = bytes.indexOf(end);
  return at < 0 ? -1 : at + end.length;
}

/**
 * Parses a whole head, with its empty line.
 * @returns undefined when it is malformed, has a field twice, or anything else but plain ASCII
 */
export function parseHead(bytes: Buffer): HttpHead | undefined {
  const lines = bytes.toString("latin1").slice(0, -end.length).split("\r\n");
  const status = statusLine.exec(lines[0] ?? "")?.[1];
  if (status === undefined) return undefined;
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const [, name, value = ""] = field.exec(line) ?? [];
    const key = name?.toLowerCase();
    if (key === undefined || headers.has(key)) return undefined;
    headers.set(key, value);
  }
  return { status: Number(status), headers };
}

/**
 * The length of the body that follows, when it is said in the one way that leaves no doubt: one Content-Length,
 * no transfer coding and no content coding.
 */
export function plainLength({ headers }: HttpHead): number | undefined {
  if (headers.has("transfer-encoding")) return undefined;
  if ((headers.get("content-encoding") ?? "identity") !== "identity") return undefined;
  const length = headers.get("content-length") ?? "";
  return /^(?:0|[1-9][0-9]{0,14})$/.test(length) ? Number(length) : undefined;
}
