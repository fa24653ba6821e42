// Serves the API on two sockets: one for looking, one for changing. Bounded in every way that a caller could
// stretch: header size, body size, time, connections.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { sendError } from "./answers.ts";
import { httpStatusOf, type SocketName } from "./api.ts";
import type { AgentContext } from "./context.ts";
import { type Agent, controlRoutes, type Handler, readRoutes } from "./routes.ts";
import type { Operations } from "./running-operation.ts";

const limits = {
  headerBytes: 8 * 1024,
  headersTimeoutMs: 5_000,
  connections: 64,
} as const;

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
      // What has a body limits it by itself: a document to 10 s, an archive to what its source takes.
      requestTimeout: 0,
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
    // Cut off, and not ended: what came of it is not whole.
    if (response.headersSent) response.destroy();
    else sendError(response, known, httpStatusOf(known));
  }
}
