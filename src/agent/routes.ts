// What can be asked over the sockets: each question with where its answer comes from. What one does not need is loaded
// only when it is asked.
import type { IncomingMessage, ServerResponse } from "node:http";
import { mosVersion } from "../system/version.ts";
import { parseBody, parseQuery, perform, readBody, sendExec, sendJson } from "./answers.ts";
import {
  activateRequestSchema,
  attestRequestSchema,
  diffRequestSchema,
  execRequestSchema,
  exportRequestSchema,
  gcRequestSchema,
  importRequestSchema,
  logsRequestSchema,
  rollbackRequestSchema,
  serviceRequestSchema,
  updateRequestSchema,
  verifyRequestSchema,
} from "./api-requests.ts";
import type { AgentContext } from "./context.ts";
import type { Operations } from "./running-operation.ts";
import { status } from "./status.ts";

/** What every answer is made from. */
export interface Agent {
  readonly context: AgentContext;
  readonly operations: Operations;
}

export type Handler = (agent: Agent, request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** What everybody may ask. */
export const readRoutes: Readonly<Record<string, Handler>> = {
  "GET /v1/status": async ({ context, operations }, _request, response) => {
    const { running: operation } = operations;
    sendJson(response, 200, {
      ...(await status(context)),
      ...(operation === undefined ? {} : { operation }),
    });
  },
  "GET /v1/use": async ({ context }, _request, response) => {
    const [{ services }, { useOfServices }] = await Promise.all([status(context), import("./use.ts")]);
    const names = services.filter(({ type }) => type === "container").map(({ name }) => name);
    sendJson(response, 200, { services: await useOfServices(context.systemd, names) });
  },
  "GET /v1/version": async (_agent, _request, response) => sendJson(response, 200, { version: mosVersion() }),
  "GET /v1/operation": async ({ operations }, _request, response) => {
    const { running } = operations;
    sendJson(response, 200, running === undefined ? {} : { running });
  },
};

/** What root may ask. */
export const controlRoutes: Readonly<Record<string, Handler>> = {
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
  "GET /v1/logs": async ({ context }, request, response) => {
    const asked = parseQuery(logsRequestSchema, request);
    const { writeLogs } = await import("./logs.ts");
    const begin = () => response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
    await writeLogs(context.systemd, asked, response, begin);
  },
  "POST /v1/exec": async ({ context }, request, response) => {
    const asked = parseBody(execRequestSchema, await readBody(request));
    const { execInService } = await import("./exec.ts");
    await sendExec(response, (onOutput) => execInService(context.systemd, asked, onOutput));
  },
  "GET /v1/volumes": async ({ context }, _request, response) => {
    const { listVolumes } = await import("./volumes.ts");
    sendJson(response, 200, { volumes: await listVolumes(context) });
  },
  "GET /v1/volume": async ({ context }, request, response) => {
    const { label, ...how } = parseQuery(exportRequestSchema, request);
    const { sendVolume } = await import("./volume-transfer.ts");
    const begin = () => void response.writeHead(200, { "content-type": "application/x-tar" });
    await sendVolume(context, label, how, response, begin);
  },
  "PUT /v1/volume": async ({ context }, request, response) => {
    const { label, stop } = parseQuery(importRequestSchema, request);
    const { receiveVolume } = await import("./volume-transfer.ts");
    await receiveVolume(context, label, stop, request);
    sendJson(response, 200, { label });
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
