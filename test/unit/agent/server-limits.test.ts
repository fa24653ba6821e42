// What a caller of the sockets can not do: send without end, or hold a connection without saying anything (attack A27).
import { once } from "node:events";
import { request, type Server } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { maxRequestBytes, type SocketName } from "../../../src/agent/api.ts";
import { Operations } from "../../../src/agent/running-operation.ts";
import { createApiServer } from "../../../src/agent/server.ts";
import { contextIn } from "../../integration/device-fixture.ts";
import { temporaryDirectory } from "../../support.ts";

interface Served {
  readonly path: string;
  readonly server: Server;
  /** Requests that are being answered. */
  active(): number;
  /** Requests that were answered, or given up. */
  ended(): number;
}

async function serve(name: SocketName): Promise<Served> {
  const root = await temporaryDirectory();
  const context = contextIn(root);
  let active = 0;
  let ended = 0;
  const server = createApiServer(context, new Operations(() => undefined), name, (change) => {
    active += change;
    if (change < 0) ended++;
  });
  const path = join(root, "socket");
  server.listen(path);
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { path, server, active: () => active, ended: () => ended };
}

/** Sends text as it is; resolves with the answer when the server closes the connection. */
async function converse(path: string, ...texts: readonly string[]): Promise<string> {
  const socket = connect(path).setEncoding("utf8");
  onTestFinished(() => void socket.destroy());
  let answer = "";
  socket.on("data", (piece) => {
    answer += String(piece);
  });
  socket.on("error", () => undefined);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  for (const text of texts) socket.write(text);
  await closed;
  return answer;
}

describe("a request that is larger than any of ours", () => {
  it.each([
    ["a little", maxRequestBytes + 1],
    ["very much", 64 * 1024 * 1024],
  ])("is answered with an error, when it is %s larger", async (_, size) => {
    const { path, active } = await serve("control");
    const head = `POST /v1/update HTTP/1.1\r\nhost: mos\r\nconnection: close\r\ncontent-length: ${size}\r\n\r\n`;
    const answer = await converse(path, head, "x".repeat(size));
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(answer).toContain('"code":"usage"');
    await expect.poll(active).toBe(0);
  });
});

describe("a caller that holds a connection", () => {
  it("and never ends its headers or its request is cut off", { timeout: 45_000 }, async () => {
    const { path, active } = await serve("control");
    const head = "POST /v1/update HTTP/1.1\r\nhost: mos\r\ncontent-length: 100\r\n";
    const [inHeaders] = await Promise.all([
      converse(path, head),
      converse(path, `${head}\r\n`, '{"reference":'),
    ]);
    expect(inHeaders).toMatch(/^HTTP\/1\.1 408 /);
    await expect.poll(active).toBe(0);
  });

  it("does not keep others from asking", async () => {
    const { path } = await serve("status");
    for (let i = 0; i < 20; i++) {
      const socket = connect(path);
      onTestFinished(() => void socket.destroy());
      await once(socket, "connect");
    }
    const [response] = await once(request({ socketPath: path, path: "/v1/version" }).end(), "response");
    expect(response.statusCode).toBe(200);
    response.resume();
  });

  it("and there are too many of them: the next one is turned away", async () => {
    const { path, server } = await serve("status");
    for (let i = 0; i < server.maxConnections; i++) {
      const socket = connect(path);
      onTestFinished(() => void socket.destroy());
      await once(socket, "connect");
    }
    expect(await converse(path, "GET /v1/version HTTP/1.1\r\nhost: mos\r\n\r\n")).toBe("");
  });
});

describe("a caller that goes away", () => {
  it("in the middle of its request does no harm", async () => {
    const { path, active } = await serve("control");
    const socket = connect(path);
    await once(socket, "connect");
    socket.write("POST /v1/update HTTP/1.1\r\nhost: mos\r\ncontent-length: 100\r\n\r\n{");
    await expect.poll(active).toBe(1);
    socket.destroy();
    await expect.poll(active).toBe(0);
    expect(await converse(path, "GET /v1/version HTTP/1.0\r\n\r\n")).toContain('"version"');
  });

  it("while an update is refused does no harm", async () => {
    const { path, ended } = await serve("control");
    const socket = connect(path);
    await once(socket, "connect");
    const body = '{"reference":"oci:/does/not/exist:1"}';
    socket.end(`POST /v1/update HTTP/1.1\r\nhost: mos\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    socket.destroySoon();
    await expect.poll(ended).toBe(1);
    expect(await converse(path, "GET /v1/version HTTP/1.0\r\n\r\n")).toContain('"version"');
  });
});

describe("an update over the socket", () => {
  it("ends with an event that says why it was refused", async () => {
    const { path } = await serve("control");
    const body = '{"reference":"oci:/does/not/exist:1"}';
    const head = `POST /v1/update HTTP/1.1\r\nhost: mos\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`;
    const answer = await converse(path, head, body);
    expect(answer).toContain("content-type: text/event-stream");
    expect(answer).toMatch(/event: progress\ndata: \{"kind":"step","step":"fetch manifest"\}\n\n/);
    expect(answer).toMatch(/event: error\ndata: \{"code":"not-found".*\}\n\n/);
  });
});
