// How requests are read and answers are written: documents, errors, and the events of an operation.
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import {
  type ExecEvent,
  type ExecOutput,
  type ExecResult,
  formatEvent,
  maxRequestBytes,
  type OperationResult,
  type TransactionEvent,
} from "./api.ts";
import type { OperationRequest, Operations } from "./running-operation.ts";

/** How long a body may take that is one document. */
const requestTimeoutMs = 10_000;

/** Answers with one document. */
export function sendJson(response: ServerResponse, code: number, document: unknown): void {
  const body = `${JSON.stringify(document)}\n`;
  response.writeHead(code, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

/** Answers with an error (docs/reference/api.md). */
export function sendError(response: ServerResponse, error: MosError, code: number): void {
  // The rest of a request that was not taken is nothing to wait for.
  if (!response.req.complete) response.shouldKeepAlive = false;
  sendJson(response, code, { error: error.toDocument() });
}

async function readAll(request: IncomingMessage): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of request) {
    if (!Buffer.isBuffer(piece)) continue;
    size += piece.length;
    if (size > maxRequestBytes)
      throw new MosError("usage", `the request is larger than ${maxRequestBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** A body that is one document. @throws MosError `usage` when it is too large or too slow */
export async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = () =>
    reject(new MosError("usage", `the request took longer than ${requestTimeoutMs / 1000} s`));
  const timer = setTimeout(late, requestTimeoutMs);
  const all = readAll(request);
  all.catch(() => undefined);
  try {
    return await Promise.race([all, promise]);
  } finally {
    clearTimeout(timer);
  }
}

interface Schema<T> {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: { message: string } };
}

/** @throws MosError `usage` */
export function parseBody<T>(schema: Schema<T>, bytes: Uint8Array): T {
  const parsed = schema.safeParse(parseJson(bytes, "request body"));
  if (parsed.success) return parsed.data;
  throw new MosError("usage", `the request body does not fit: ${parsed.error.message}`);
}

/** The query of a URL, as a body of strings would be. @throws MosError `usage` */
export function parseQuery<T>(schema: Schema<T>, { url }: IncomingMessage): T {
  const query = new URLSearchParams((url ?? "").split("?")[1] ?? "");
  const parsed = schema.safeParse(Object.fromEntries(query));
  if (parsed.success) return parsed.data;
  throw new MosError("usage", `the query does not fit: ${parsed.error.message}`);
}

const eventStream = { "content-type": "text/event-stream", "cache-control": "no-store" };

/** Until there is room for more, or nobody left who reads. */
async function drained(response: ServerResponse): Promise<void> {
  const either = new AbortController();
  const { signal } = either;
  await Promise.race([once(response, "drain", { signal }), once(response, "close", { signal })]);
  either.abort();
}

/** Answers with what a program prints, and how it ends. It goes on when its caller goes away. */
export async function sendExec(
  response: ServerResponse,
  work: (onOutput: (output: ExecOutput) => Promise<void>) => Promise<ExecResult>,
): Promise<void> {
  const send = async (event: ExecEvent): Promise<void> => {
    if (response.destroyed) return;
    if (!response.headersSent) response.writeHead(200, eventStream);
    if (!response.write(formatEvent(event))) await drained(response);
  };
  const result = await work((data) => send({ event: "output", data }));
  await send({ event: "done", data: result });
  response.end();
}

interface Performance {
  readonly operations: Operations;
  readonly response: ServerResponse;
  /** Whether the answer is the events up to the end; else it ends as soon as the operation has begun. */
  readonly follow: boolean;
  readonly operation: Omit<OperationRequest, "gone">;
}

/** An operation goes on when its caller goes away: half of one helps nobody. */
export async function perform<T extends OperationResult>(
  { operations, response, follow, operation }: Performance,
  work: Parameters<typeof operations.run<T>>[1],
): Promise<void> {
  const caller = new AbortController();
  response.once("close", () => caller.abort());
  const request = { ...operation, gone: caller.signal };
  if (!follow) {
    sendJson(response, 200, { accepted: await operations.begin(request, work) });
    return;
  }
  const send = (event: TransactionEvent) => {
    if (!response.writableEnded && !response.destroyed) response.write(formatEvent(event));
  };
  response.writeHead(200, eventStream);
  try {
    const data = await operations.run(request, work, (event) => send({ event: "progress", data: event }));
    send({ event: "done", data });
  } catch (error) {
    send({ event: "error", data: asMosError(error).toDocument() });
  }
  response.end();
}
