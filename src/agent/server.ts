// Serves the API on two sockets: one for looking, one for changing. Bounded in every way that a caller could
// stretch: header size, body size, time, connections.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { mosVersion } from "../system/version.ts";
import {
  formatEvent,
  httpStatusOf,
  maxRequestBytes,
  type OperationResult,
  type SocketName,
  type TransactionEvent,
} from "./api.ts";
import {
  activateRequestSchema,
  attestRequestSchema,
  diffRequestSchema,
  gcRequestSchema,
  rollbackRequestSchema,
  serviceRequestSchema,
  updateRequestSchema,
  verifyRequestSchema,
} from "./api-requests.ts";
import type { AgentContext } from "./context.ts";
import type { OperationRequest, Operations } from "./running-operation.ts";
import { status } from "./status.ts";

const limits = {
  headerBytes: 8 * 1024,
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  connections: 64,
} as const;

/** What every answer is made from. */
interface Agent {
  readonly context: AgentContext;
  readonly operations: Operations;
}

type Handler = (agent: Agent, request: IncomingMessage, response: ServerResponse) => Promise<void>;

const readRoutes: Readonly<Record<string, Handler>> = {
  "GET /v1/status": async ({ context, operations }, _request, response) => {
    const { running: operation } = operations;
    sendJson(response, 200, {
      ...(await status(context)),
      ...(operation === undefined ? {} : { operation }),
    });
  },
  "GET /v1/version": async (_agent, _request, response) => sendJson(response, 200, { version: mosVersion() }),
  "GET /v1/operation": async ({ operations }, _request, response) => {
    const { running } = operations;
    sendJson(response, 200, running === undefined ? {} : { running });
  },
};

const controlRoutes: Readonly<Record<string, Handler>> = {
  ...readRoutes,
  "GET /v1/history": async ({ context }, _request, response) => {
    const { history } = await import("./history.ts");
    sendJson(response, 200, await history(context));
  },
  "GET /v1/diff": async ({ context }, request, response) => {
    const { from, to } = parseQuery(diffRequestSchema, request);
    const { diff } = await import("./diff.ts");
    sendJson(response, 200, await diff(context, from, to));
  },
  "POST /v1/update": async ({ context, operations }, request, response) => {
    const { follow, waitSeconds, ...asked } = parseBody(updateRequestSchema, await readBody(request));
    const { requestedUpdate } = await import("./requested-update.ts");
    const operation = { purpose: `update to ${asked.reference}`, waitMs: waitSeconds * 1000 };
    await perform({ operations, response, follow, operation }, (progress, signal) =>
      requestedUpdate(context, asked, progress, signal),
    );
  },
  "POST /v1/update/unattended": async ({ context, operations }, _request, response) => {
    const { unattendedUpdate } = await import("./unattended.ts");
    const operation = { purpose: "unattended update", waitMs: 0 };
    await perform({ operations, response, follow: true, operation }, (progress, signal) =>
      unattendedUpdate(context, new Date(), progress, signal),
    );
  },
  "POST /v1/plan": async ({ context }, request, response) => {
    const { reference, allowOlder, retry } = parseBody(updateRequestSchema, await readBody(request));
    const { planUpdate } = await import("./dry-run.ts");
    sendJson(response, 200, await planUpdate(context, reference, { allowOlder, retry }));
  },
  "POST /v1/rollback": async ({ context, operations }, request, response) => {
    const { generation } = parseBody(rollbackRequestSchema, await readBody(request));
    const { rollback } = await import("./rollback.ts");
    const operation = { purpose: "rollback", waitMs: 0 };
    await perform({ operations, response, follow: true, operation }, (progress) =>
      rollback(context, generation, progress),
    );
  },
  "POST /v1/gc": async ({ context, operations }, request, response) => {
    const options = parseBody(gcRequestSchema, await readBody(request));
    const { gc } = await import("./gc.ts");
    const work = () => gc(context, options);
    sendJson(response, 200, await operations.run({ purpose: "gc", waitMs: 0 }, work, () => undefined));
  },
  "POST /v1/activate": async ({ context, operations }, request, response) => {
    const { service } = parseBody(activateRequestSchema, await readBody(request));
    const { activate } = await import("./activate.ts");
    const work = () => activate(context, service);
    sendJson(response, 200, await operations.run({ purpose: "activate", waitMs: 0 }, work, () => undefined));
  },
  "POST /v1/service": async ({ context }, request, response) => {
    const { service, action } = parseBody(serviceRequestSchema, await readBody(request));
    const { actOnService } = await import("./service-action.ts");
    sendJson(response, 200, await actOnService(context.systemd, service, action));
  },
  "POST /v1/cancel": async ({ operations }, _request, response) =>
    sendJson(response, 200, { cancelled: await operations.cancel() }),
  "POST /v1/verify": async ({ context }, request, response) => {
    const { reference, level } = parseBody(verifyRequestSchema, await readBody(request));
    const { verifyReference } = await import("./verify.ts");
    sendJson(response, 200, await verifyReference(context, reference, level));
  },
  "POST /v1/attest": async ({ context }, request, response) => {
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
  operations: Operations,
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
      void answer({ context, operations }, routes, request, response).finally(() => onActivity(-1));
    },
  );
  server.maxConnections = limits.connections;
  return server;
}

async function answer(
  agent: Agent,
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
    await handler(agent, request, response);
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

/** The query of a URL, as a body of strings would be. */
function parseQuery<T>(schema: Schema<T>, { url }: IncomingMessage): T {
  const query = new URLSearchParams((url ?? "").split("?")[1] ?? "");
  const parsed = schema.safeParse(Object.fromEntries(query));
  if (parsed.success) return parsed.data;
  throw new MosError("usage", `the query does not fit: ${parsed.error.message}`);
}

interface Performance {
  readonly operations: Operations;
  readonly response: ServerResponse;
  /** Whether the answer is the events up to the end; else it ends as soon as the operation has begun. */
  readonly follow: boolean;
  readonly operation: Omit<OperationRequest, "gone">;
}

/** An operation goes on when its caller goes away: half of one helps nobody. */
async function perform<T extends OperationResult>(
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
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  try {
    const data = await operations.run(request, work, (event) => send({ event: "progress", data: event }));
    send({ event: "done", data });
  } catch (error) {
    send({ event: "error", data: asMosError(error).toDocument() });
  }
  response.end();
}
