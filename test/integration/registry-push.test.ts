// What a push leaves behind: a request that is not ended keeps its connection for ever, and with it the process, which
// has said that it is done and does not end.
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { clientOf, failsWith, listen, serve } from "./bad-registry.ts";

const blob = randomBytes(200_000);
const descriptor: Descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };

test("a registry that answers before the file has said that it ends keeps no connection", async () => {
  const answered: ServerResponse[] = [];
  const { registry, server } = await serve((request, response) => {
    if (request.method === "HEAD") response.writeHead(404, { "Content-Length": 2 }).end();
    else if (request.method === "POST") response.writeHead(202, { Location: "/upload" }).end();
    else request.resume().on("end", () => answered.push(response.writeHead(201).end()));
  });
  let connections = 0;
  server.on("connection", () => connections++);
  /** As from a file, whose end is not known before it is read once more. */
  async function* slowly() {
    yield blob;
    while (answered.at(-1)?.writableFinished !== true) await new Promise(setImmediate);
    // The client, in this process, reads the answer meanwhile.
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    answered.length = 0;
  }
  expect(await registry.putBlob(descriptor, slowly)).toBe("sent");
  expect(await registry.putBlob(descriptor, slowly)).toBe("sent");
  expect(connections).toBe(1);
});

test("a registry that refuses a push before its end keeps no connection", async () => {
  // By hand: Node's own server ends the connection itself then, and others do not.
  const answers: Readonly<Record<string, string>> = {
    HEAD: "404 Not Found\r\n",
    POST: "202 Accepted\r\nLocation: /upload\r\n",
    PUT: "413 Content Too Large\r\n",
  };
  let end: (() => void) | undefined;
  const gone = new Promise<void>((resolve) => {
    end = resolve;
  });
  const server = createServer((socket) => {
    let isRefused = false;
    socket.on("close", () => isRefused && end?.());
    socket.on("data", (bytes) => {
      if (isRefused) return;
      const method = /^[A-Z]+(?= )/.exec(bytes.toString("latin1"))?.[0] ?? "";
      isRefused = method === "PUT";
      socket.write(`HTTP/1.1 ${answers[method]}Content-Length: 0\r\n\r\n`);
    });
  });
  const registry = await clientOf(`127.0.0.1:${await listen(server)}`);
  const size = 64 * 1024 * 1024;
  async function* zeros() {
    for (let at = 0; at < size; at += 1024 * 1024) yield new Uint8Array(1024 * 1024);
  }
  await expect(registry.putBlob({ ...descriptor, size }, zeros)).rejects.toEqual(
    failsWith("push-failed", /413/),
  );
  await gone;
});
