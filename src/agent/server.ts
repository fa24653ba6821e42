// Serves the API on two sockets: one for looking, one for changing. Bounded in every way that a caller could
// stretch: header size, body size, time, connections.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { mosVersion } from "../system/version.ts";
import { formatEvent, httpStatusOf, maxRequestBytes, type SocketName, type TransactionEvent } from "./api.ts";
import {
  attestRequestSchema,
  rollbackRequestSchema,
  updateRequestSchema,
  verifyRequestSchema,
} from "./api-requests.ts";
import type { AgentContext } from "./context.ts";
import type { Progress } from "./progress.ts";
import type { RollbackResult } from "./rollback.ts";
import { status } from "./status.ts";
import type { UpdateResult } from "./update.ts";

const limits = {
  headerBytes: 8 * 1024,
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  connections: 64,
} as const;

type Handler = (context: AgentContext, request: IncomingMessage, response: ServerResponse) => Promise<void>;

const readRoutes: Readonly<Record<string, Handler>> = {
  "GET /v1/status": async (context, _request, response) => sendJson(response, 200, await status(context)),
  "GET /v1/version": async (_context, _request, response) =>
    sendJson(response, 200, { version: mosVersion() }),
};

const controlRoutes: Readonly<Record<string, Handler>> = {
  ...readRoutes,
  "GET /v1/history": async (context, _request, response) => {
    const { history } = await import("./history.ts");
    sendJson(response, 200, await history(context));
  },
  "POST /v1/update": async (context, request, response) => {
    const { reference, ...options } = parseBody(updateRequestSchema, await readBody(request));
    const { update } = await import("./update.ts");
    await stream(response, (progress) => update(context, reference, options, progress));
  },
  "POST /v1/plan": async (context, request, response) => {
    const { reference, ...options } = parseBody(updateRequestSchema, await readBody(request));
    const { planUpdate } = await import("./dry-run.ts");
    sendJson(response, 200, await planUpdate(context, reference, options));
  },
  "POST /v1/rollback": async (context, request, response) => {
    const { generation } = parseBody(rollbackRequestSchema, await readBody(request));
    const { rollback } = await import("./rollback.ts");
    await stream(response, (progress) => rollback(context, generation, progress));
  },
  "POST /v1/verify": async (context, request, response) => {
    const { reference, level } = parseBody(verifyRequestSchema, await readBody(request));
    const { verifyReference } = await import("./verify.ts");
    sendJson(response, 200, await verifyReference(context, reference, level));
  },
  "POST /v1/attest": async (context, request, response) => {
    const { nonce } = parseBody(attestRequestSchema, await readBody(request));
    const [{ attest }, { parseNonce }] = await Promise.all([
      import("./attest.ts"),
      import("../attest/nonce.ts"),
    ]);
    sendJson(response, 200, await attest(context, parseNonce(nonce)));
  },
};

/** A server for one of the sockets. `onActivity` is called when a request begins and when it has ended. */
export function createApiServer(
  context: AgentContext,
  name: SocketName,
  onActivity: (change: 1 | -1) => void,
): Server {
  const routes = name === "control" ? controlRoutes : readRoutes;
  const server = createServer(
    {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: 1_000,
      // Node looks at its time limits every 30 s unless told otherwise.
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      onActivity(1);
      void answer(context, routes, request, response).finally(() => onActivity(-1));
    },
  );
  server.maxConnections = limits.connections;
  return server;
}

async function answer(
  context: AgentContext,
  routes: Readonly<Record<string, Handler>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const path = (request.url ?? "").split("?")[0] ?? "";
    const key = `${request.method ?? ""} ${path}`;
    const handler = Object.hasOwn(routes, key) ? routes[key] : undefined;
    if (handler === undefined) {
      sendError(
        response,
        new MosError("usage", `there is no ${key} on this socket`, {
          hint: "docs/reference/api.md lists the API.",
        }),
        404,
      );
      return;
    }
    await handler(context, request, response);
  } catch (error) {
    const known = asMosError(error);
    if (response.headersSent) response.end();
    else sendError(response, known, httpStatusOf(known));
  }
}

function sendJson(response: ServerResponse, code: number, document: unknown): void {
  const body = `${JSON.stringify(document)}\n`;
  response.writeHead(code, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

function sendError(response: ServerResponse, error: MosError, code: number): void {
  sendJson(response, code, { error: error.toDocument() });
}

async function readBody(request: IncomingMessage): Promise<Uint8Array> {
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

interface Schema<T> {
  safeParse(value: unknown): { success: true; data: T } | { success: false; error: { message: string } };
}

function parseBody<T>(schema: Schema<T>, bytes: Uint8Array): T {
  const parsed = schema.safeParse(parseJson(bytes, "request body"));
  if (parsed.success) return parsed.data;
  throw new MosError("usage", `the request body does not fit: ${parsed.error.message}`);
}

/** A transaction goes on when its caller goes away: half of one helps nobody. */
async function stream(
  response: ServerResponse,
  work: (progress: Progress) => Promise<UpdateResult | RollbackResult>,
): Promise<void> {
  const send = (event: TransactionEvent) => {
    if (!response.writableEnded && !response.destroyed) response.write(formatEvent(event));
  };
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  try {
    send({ event: "done", data: await work((data) => send({ event: "progress", data })) });
  } catch (error) {
    send({ event: "error", data: asMosError(error).toDocument() });
  }
  response.end();
}
