// The other end of the socket API, for mosctl. Where no agent listens the caller does the work itself.
import { type IncomingMessage, request } from "node:http";
import type { AttestationDocument } from "../attest/document.ts";
import { MosError, systemCode } from "../errors/mos-error.ts";
import type { ActivateResult } from "./activate.ts";
import { readErrorDocument, type SocketName, socketPaths } from "./api.ts";
import type { GenerationDiff } from "./diff.ts";
import type { UpdatePlan } from "./dry-run.ts";
import type { GcResult } from "./gc.ts";
import type { HistoryEntry } from "./history.ts";
import type { Progress, ProgressEvent } from "./progress.ts";
import type { RequestedUpdate } from "./requested-update.ts";
import type { RollbackResult } from "./rollback.ts";
import type { OperationInfo } from "./running-operation.ts";
import type { ActionResult, ServiceAction } from "./service-action.ts";
import type { Status } from "./status-model.ts";
import type { UnattendedResult } from "./unattended.ts";
import type { UpdateOptions, UpdateResult } from "./update.ts";
import type { VerifyLevel, VerifyResult } from "./verify.ts";

/** How long an answer to a question may take that can be answered without the agent as well. */
const statusTimeoutMs = 15_000;

/** Longest line of an event stream, characters. */
const maxEventLine = 1024 * 1024;

/**
 * Sends one request.
 * @param timeoutMs after which an agent that does not answer counts as none; without it the request waits
 * @returns undefined when no agent listens on the socket
 * @throws MosError `permission-denied`, or the agent's own error
 */
async function call(
  socket: SocketName,
  method: string,
  path: string,
  body?: unknown,
  timeoutMs?: number,
): Promise<IncomingMessage | undefined> {
  const response = await new Promise<IncomingMessage | undefined>((resolve, reject) => {
    const outgoing = request(
      { socketPath: socketPaths[socket], method, path, headers: { host: "mos" } },
      resolve,
    );
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            resolve(undefined);
            outgoing.destroy();
          }, timeoutMs);
    outgoing.once("response", () => clearTimeout(timer));
    outgoing.once("error", (error) => {
      clearTimeout(timer);
      const code = systemCode(error);
      if (code === "ENOENT" || code === "ECONNREFUSED") resolve(undefined);
      else if (code === "EACCES") {
        reject(
          new MosError("permission-denied", `not permitted to use ${socketPaths[socket]}`, {
            about: socketPaths[socket],
          }),
        );
      } else reject(error);
    });
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
  if (response === undefined || response.statusCode === 200) return response;
  const document: unknown = await readJson(response);
  throw readErrorDocument(
    typeof document === "object" && document !== null && "error" in document ? document.error : undefined,
  );
}

async function readJson(response: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(Buffer.from(piece));
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch (error) {
    throw new MosError("agent-failed", "mosd answered with something that is not JSON", { cause: error });
  }
}

/**
 * GET /v1/status; undefined when no agent listens, or when none can be started (without the state's disk, say).
 * Asked again when the agent leaves just then: its socket starts it anew.
 */
export async function requestStatus(): Promise<Status | undefined> {
  for (let tries = 3; tries > 0; tries--) {
    try {
      const response = await call("status", "GET", "/v1/status", undefined, statusTimeoutMs);
      // The agent is of the same package and trusted: it could tell us anything anyway.
      return response === undefined ? undefined : ((await readJson(response)) as Status);
    } catch (error) {
      const code = systemCode(error);
      if (code !== "ECONNRESET" && code !== "EPIPE") throw error;
    }
  }
  return undefined;
}

/** POST /v1/verify; undefined when no agent listens. */
export async function requestVerify(
  reference: string,
  level: VerifyLevel,
): Promise<VerifyResult | undefined> {
  const response = await call("control", "POST", "/v1/verify", { reference, level });
  return response === undefined ? undefined : ((await readJson(response)) as VerifyResult);
}

/** POST /v1/attest; undefined when no agent listens. */
export async function requestAttestation(nonce: string): Promise<AttestationDocument | undefined> {
  const response = await call("control", "POST", "/v1/attest", { nonce });
  return response === undefined ? undefined : ((await readJson(response)) as AttestationDocument);
}

/** GET /v1/history; undefined when no agent listens. */
export async function requestHistory(): Promise<readonly HistoryEntry[] | undefined> {
  const response = await call("control", "GET", "/v1/history");
  return response === undefined ? undefined : ((await readJson(response)) as readonly HistoryEntry[]);
}

/** An update, and what is to be done while another operation runs. */
export interface UpdateRequest extends RequestedUpdate {
  /** How long to wait for another operation to end. */
  readonly waitSeconds: number;
}

/** POST /v1/update, following its events to the end; undefined when no agent listens. */
export async function requestUpdate(
  asked: UpdateRequest,
  progress: Progress,
): Promise<UpdateResult | undefined> {
  const response = await call("control", "POST", "/v1/update", { ...asked, follow: true });
  return response === undefined ? undefined : await follow<UpdateResult>(response, progress);
}

/** POST /v1/update, answered as soon as the update has begun; undefined when no agent listens. */
export async function requestUpdateBegin(
  asked: UpdateRequest,
): Promise<{ readonly accepted: OperationInfo } | undefined> {
  const response = await call("control", "POST", "/v1/update", { ...asked, follow: false });
  return response === undefined
    ? undefined
    : ((await readJson(response)) as { readonly accepted: OperationInfo });
}

/** POST /v1/update/unattended, following its events to the end; undefined when no agent listens. */
export async function requestUnattended(progress: Progress): Promise<UnattendedResult | undefined> {
  const response = await call("control", "POST", "/v1/update/unattended");
  return response === undefined ? undefined : await follow<UnattendedResult>(response, progress);
}

/** POST /v1/cancel; undefined when no agent listens. */
export async function requestCancel(): Promise<{ readonly cancelled: OperationInfo } | undefined> {
  const response = await call("control", "POST", "/v1/cancel");
  return response === undefined
    ? undefined
    : ((await readJson(response)) as { readonly cancelled: OperationInfo });
}

/** POST /v1/gc; undefined when no agent listens. */
export async function requestGc(dryRun: boolean): Promise<GcResult | undefined> {
  const response = await call("control", "POST", "/v1/gc", { dryRun });
  return response === undefined ? undefined : ((await readJson(response)) as GcResult);
}

/** POST /v1/service; undefined when no agent listens. */
export async function requestServiceAction(
  service: string,
  action: ServiceAction,
): Promise<ActionResult | undefined> {
  const response = await call("control", "POST", "/v1/service", { service, action });
  return response === undefined ? undefined : ((await readJson(response)) as ActionResult);
}

/** POST /v1/activate; undefined when no agent listens. */
export async function requestActivate(service: string | undefined): Promise<ActivateResult | undefined> {
  const response = await call("control", "POST", "/v1/activate", service === undefined ? {} : { service });
  return response === undefined ? undefined : ((await readJson(response)) as ActivateResult);
}

/** GET /v1/diff; undefined when no agent listens. */
export async function requestDiff(
  from: number | undefined,
  to: number | undefined,
): Promise<GenerationDiff | undefined> {
  const query = Object.entries({ from, to }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${value}`],
  );
  const response = await call("control", "GET", `/v1/diff?${query.join("&")}`);
  return response === undefined ? undefined : ((await readJson(response)) as GenerationDiff);
}

/** POST /v1/plan; undefined when no agent listens. */
export async function requestPlan(
  reference: string,
  options: UpdateOptions,
): Promise<UpdatePlan | undefined> {
  const response = await call("control", "POST", "/v1/plan", { reference, ...options });
  return response === undefined ? undefined : ((await readJson(response)) as UpdatePlan);
}

/** POST /v1/rollback, following its events to the end; undefined when no agent listens. */
export async function requestRollback(
  generation: number | undefined,
  progress: Progress,
): Promise<RollbackResult | undefined> {
  const body = generation === undefined ? {} : { generation };
  const response = await call("control", "POST", "/v1/rollback", body);
  return response === undefined ? undefined : await follow<RollbackResult>(response, progress);
}

/** The result of a transaction. @throws MosError the agent's own, or `agent-failed` */
async function follow<T>(response: IncomingMessage, progress: Progress): Promise<T> {
  for await (const { event, data } of readEvents(response)) {
    if (event === "progress") progress(data as ProgressEvent);
    else if (event === "done") return data as T;
    else if (event === "error") throw readErrorDocument(data);
  }
  throw new MosError("agent-failed", "mosd ended before the transaction did", {
    hint: "journalctl -u mosd; mosctl status says what runs now. The command can be repeated.",
  });
}

async function* readEvents(response: IncomingMessage): AsyncGenerator<{ event: string; data: unknown }> {
  let buffered = "";
  response.setEncoding("utf8");
  for await (const piece of response) {
    buffered += String(piece);
    if (buffered.length > maxEventLine)
      throw new MosError("agent-failed", "mosd sent an event that never ends");
    for (let end = buffered.indexOf("\n\n"); end >= 0; end = buffered.indexOf("\n\n")) {
      const block = buffered.slice(0, end);
      buffered = buffered.slice(end + 2);
      const match = /^event: (\S+)\ndata: (.*)$/.exec(block);
      if (match?.[1] === undefined)
        throw new MosError("agent-failed", "mosd sent something that is no event");
      yield { event: match[1], data: JSON.parse(match[2] ?? "null") };
    }
  }
}
