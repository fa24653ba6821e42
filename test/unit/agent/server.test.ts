// The socket API over real Unix sockets.
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  formatEvent,
  httpStatusOf,
  maxRequestBytes,
  readErrorDocument,
  type SocketName,
} from "../../../src/agent/api.ts";
import { Operations } from "../../../src/agent/running-operation.ts";
import { createApiServer } from "../../../src/agent/server.ts";
import { catalogue, type ErrorCode } from "../../../src/errors/catalogue.ts";
import { MosError } from "../../../src/errors/mos-error.ts";
import { contextIn } from "../../integration/device-fixture.ts";
import { temporaryDirectory } from "../../support.ts";

async function serve(name: SocketName): Promise<string> {
  const root = await temporaryDirectory();
  const context = contextIn(root);
  const path = join(root, "socket");
  const server = createApiServer(context, new Operations(() => undefined), name, () => undefined);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return path;
}

async function ask(socketPath: string, method: string, path: string, body?: string) {
  return await new Promise<{ code: number; document: { error?: { code: string }; health?: string } }>(
    (resolve, reject) => {
      const outgoing = request({ socketPath, method, path }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (piece) => {
          text += String(piece);
        });
        response.on("end", () => resolve({ code: response.statusCode ?? 0, document: JSON.parse(text) }));
      });
      outgoing.once("error", reject);
      outgoing.end(body);
    },
  );
}

describe("the status socket", () => {
  it("tells everybody how the device is", async () => {
    expect(await ask(await serve("status"), "GET", "/v1/status")).toMatchObject({
      code: 200,
      document: { health: "none" },
    });
  });

  it("tells what services use up", async () => {
    expect(await ask(await serve("status"), "GET", "/v1/use")).toMatchObject({
      code: 200,
      document: { services: [] },
    });
  });

  it.each(["/v1/update", "/v1/verify", "/v1/attest", "/v1/exec"])(
    "does not change anything: there is no %s on it",
    async (path) => {
      const answer = await ask(await serve("status"), "POST", path, '{"reference":"oci:x:y"}');
      expect(answer).toMatchObject({ code: 404, document: { error: { code: "usage" } } });
    },
  );

  it.each(["/", "/v1", "/v1/status/..", "/__proto__"])("has nothing at %s", async (path) => {
    expect((await ask(await serve("status"), "GET", path)).code).toBe(404);
  });
});

describe("the control socket", () => {
  it.each([
    ["no JSON", "nonsense"],
    ["an unknown key", '{"reference":"oci:x:y","force":true}'],
    ["no reference", "{}"],
    ["a body without end", `{"reference":"${"x".repeat(maxRequestBytes)}"}`],
  ])("refuses %s", async (_what, body) => {
    expect((await ask(await serve("control"), "POST", "/v1/update", body)).code).toBeGreaterThanOrEqual(400);
  });

  it.each([
    ["no nonce", "{}"],
    ["a short nonce", '{"nonce":"00"}'],
    ["a nonce that is no text", '{"nonce":1}'],
  ])("does not attest to %s", async (_what, body) => {
    const answer = await ask(await serve("control"), "POST", "/v1/attest", body);
    expect(answer).toMatchObject({ code: 400, document: { error: { code: "usage" } } });
  });

  it("says that a device without an identity cannot attest", async () => {
    const body = JSON.stringify({ nonce: "00".repeat(16) });
    const answer = await ask(await serve("control"), "POST", "/v1/attest", body);
    expect(answer).toMatchObject({ code: 507, document: { error: { code: "identity-missing" } } });
  });

  it.each([
    ["GET", "/v1/logs", "logs of no service"],
    ["GET", "/v1/logs?service=web&lines=0", "no line"],
    ["GET", "/v1/logs?service=web&since=-1h%20--file=/etc/shadow", "a time that is none"],
    ["GET", "/v1/logs?service=web&follow=yes", "a word that is neither true nor false"],
    ["GET", "/v1/logs?service=web&file=x", "an unknown word"],
    ["GET", "/v1/logs?service=..%2Fx", "a name that is none"],
    ["GET", "/v1/volume?label=--live", "an option for a label"],
    ["PUT", "/v1/volume", "no label"],
  ])("refuses %s %s: %s", async (method, path) => {
    const answer = await ask(await serve("control"), method, path);
    expect(answer).toMatchObject({ code: 400, document: { error: { code: "usage" } } });
  });

  it.each([
    ["no command", { service: "web" }],
    ["an empty command", { service: "web", command: [] }],
    ["an empty program", { service: "web", command: ["", "x"] }],
    ["a NUL", { service: "web", command: ["a\0b"] }],
    ["input that is no base64", { service: "web", command: ["a"], input: "%" }],
  ])("runs nothing for %s", async (_what, body) => {
    const answer = await ask(await serve("control"), "POST", "/v1/exec", JSON.stringify(body));
    expect(answer).toMatchObject({ code: 400, document: { error: { code: "usage" } } });
  });

  it.each([
    ["GET", "/v1/volume?label=nobody", undefined, "volume-unknown"],
    ["PUT", "/v1/volume?label=nobody", "x", "volume-unknown"],
  ])("says of %s %s what is not on the device", async (method, path, body, code) => {
    const answer = await ask(await serve("control"), method, path, body);
    expect(answer).toMatchObject({ code: 400, document: { error: { code } } });
  });

  it("closes a connection whose header is longer than any of ours", async () => {
    const socket = connect(await serve("control"));
    const text = await new Promise<string>((resolve) => {
      let said = "";
      socket.setEncoding("utf8");
      socket.on("data", (piece) => {
        said += String(piece);
      });
      socket.once("close", () => resolve(said));
      socket.on("error", () => undefined);
      socket.write(`GET /v1/status HTTP/1.1\r\nhost: mos\r\nx: ${"y".repeat(64 * 1024)}\r\n\r\n`);
    });
    expect(text).toContain("431");
  });
});

describe("errors on the socket", () => {
  it("come back as they were thrown, whatever their code", () => {
    for (const code of Object.keys(catalogue) as ErrorCode[]) {
      const thrown = new MosError(code, "why", { about: "it", problems: ["one"] });
      expect(httpStatusOf(thrown)).toBeGreaterThanOrEqual(400);
      expect(readErrorDocument(JSON.parse(JSON.stringify(thrown.toDocument()))).toDocument()).toEqual(
        thrown.toDocument(),
      );
    }
  });

  it("of an unknown form are the agent's own failure", () => {
    for (const document of [undefined, null, {}, { code: "made-up", message: "m", hint: "h" }]) {
      expect(readErrorDocument(document).code).toBe("agent-failed");
    }
  });

  it("cannot end an event early", () => {
    const event = formatEvent({
      event: "error",
      data: new MosError("internal", "a\n\nevent: done\ndata: {}").toDocument(),
    });
    expect(event.split("\n\n")).toHaveLength(2);
  });
});
