// Large blobs, which come over a connection of their own (direct-get.ts): the same promises as for small ones.
import { randomBytes } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import { createServer as createNetServer, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { certificate, clientOf, collect, failsWith, listen, serve, serveTls, short } from "./bad-registry.ts";

const blob = randomBytes(3_000_000);
const descriptor: Descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };

/** Answers as a good registry does, ranges included. */
const good: RequestListener = (request, response) => {
  const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  response.writeHead(from === 0 ? 200 : 206, {
    "Content-Length": blob.length - from,
    ...(from === 0 ? {} : { "Content-Range": `bytes ${from}-${blob.length - 1}/${blob.length}` }),
  });
  response.end(blob.subarray(from));
};

/** A registry that answers every connection with these bytes, and then does what `then` does. */
async function raw(answer: string | Buffer, then: (socket: Socket) => void = () => undefined) {
  const server = createNetServer((socket) => {
    socket.once("data", () => socket.write(answer, () => then(socket)));
  });
  return await clientOf(`127.0.0.1:${await listen(server)}`);
}

describe("a large blob comes whole", () => {
  test("in the clear and over TLS, from the beginning and from the middle", async () => {
    const connections: (string | undefined)[] = [];
    const listener: RequestListener = (request, response) => {
      connections.push(request.headers.connection);
      good(request, response);
    };
    for (const { registry } of [await serve(listener), await serveTls(listener)]) {
      expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
      expect((await collect(registry.blob(descriptor, 1_234_567))).equals(blob.subarray(1_234_567))).toBe(
        true,
      );
    }
    // Each over a connection of its own, and none of them asked for twice.
    expect(connections).toEqual(["close", "close", "close", "close"]);
  });

  test("from a server without ranges", async () => {
    const { registry } = await serve((_, response) =>
      response.writeHead(200, { "Content-Length": blob.length }).end(blob),
    );
    expect((await collect(registry.blob(descriptor, 1_234_567))).equals(blob.subarray(1_234_567))).toBe(true);
  });

  test("from a server that sends it in chunks, or redirects, or says a header twice", async () => {
    const listeners: RequestListener[] = [
      (_, response) => response.end(blob),
      (request, response) => {
        if (request.url === "/elsewhere") good(request, response);
        else response.writeHead(307, { Location: "/elsewhere" }).end();
      },
      (_, response) => response.setHeader("X-Twice", ["a", "b"]).writeHead(200).end(blob),
    ];
    for (const listener of listeners) {
      const { registry } = await serve(listener);
      expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    }
  });

  test("from a server that sends it in any pieces", async () => {
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${blob.length}\r\n\r\n`;
    const server = createNetServer((socket) => {
      socket.setNoDelay(true);
      socket.once("data", () => {
        socket.write(head.slice(0, 20));
        setImmediate(() => {
          socket.write(Buffer.concat([Buffer.from(head.slice(20)), blob.subarray(0, 1)]));
          setImmediate(() => socket.write(blob.subarray(1)));
        });
      });
    });
    const registry = await clientOf(`127.0.0.1:${await listen(server)}`);
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
  });

  test("when the reader is slow", async () => {
    const { registry } = await serve(good);
    const pieces: Uint8Array[] = [];
    for await (const piece of registry.blob(descriptor)) {
      if (pieces.length === 1) await new Promise((resolve) => setTimeout(resolve, short.idleMs * 2));
      pieces.push(Uint8Array.from(piece));
    }
    expect(Buffer.concat(pieces).equals(blob)).toBe(true);
  });

  test("with credentials, which no other host gets", async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      good(request, response);
    });
    const authorization = `Basic ${Buffer.from("user:secret").toString("base64")}`;
    const port = await listen(
      createServer((request, response) => {
        if (request.headers.authorization !== authorization) {
          response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' }).end();
        } else if (request.url?.endsWith(descriptor.digest)) {
          response.writeHead(307, { Location: `http://${other.authority}/blob` }).end();
        } else response.end(request.url);
      }),
    );
    const authority = `127.0.0.1:${port}`;
    const auth = authorization.slice("Basic ".length);
    const registry = await clientOf(authority, { auths: { [authority]: { auth } } });
    for (let i = 0; i < 2; i++) expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    expect(seen).toEqual([undefined, undefined]);
  });

  test("over connections that break again and again", async () => {
    let connections = 0;
    const { registry } = await serve((request, response) => {
      connections++;
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
      response.writeHead(from === 0 ? 200 : 206, {
        "Content-Length": blob.length - from,
        ...(from === 0 ? {} : { "Content-Range": `bytes ${from}-${blob.length - 1}/${blob.length}` }),
      });
      const end = from + 700_000;
      if (end >= blob.length) response.end(blob.subarray(from));
      else response.write(blob.subarray(from, end), () => response.destroy());
    });
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    expect(connections).toBeGreaterThan(2);
  });
});

describe("a large blob does not come", () => {
  const head = (length: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;

  test("from nowhere", async () => {
    const { registry, server } = await serve(good);
    const closed = new Promise((resolve) => server.once("close", resolve));
    server.close();
    await closed;
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith("registry-unreachable", /refused/),
    );
  });

  test("from a server with a certificate that is not known", async () => {
    const { authority } = await serveTls(good);
    const registry = await clientOf(authority, {}, (await certificate()).cert);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith("registry-unreachable", /certificate/),
    );
  });

  test("through a TLS handshake that stalls", async () => {
    const port = await listen(createNetServer(() => undefined));
    const registry = await clientOf(`127.0.0.1:${port}`, {}, (await certificate()).cert);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith("registry-timeout", /connect/),
    );
  });

  test("from a server that says nothing", async () => {
    const registry = await raw("");
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-timeout", /answer/));
  });

  test("from a server whose headers drip", async () => {
    const registry = await raw("HTTP/1.1 200 OK\r\nX-Slow: ", (socket) => {
      const drip = setInterval(() => socket.write("a"), 20);
      socket.on("close", () => clearInterval(drip));
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-timeout", /answer/));
  });

  test("from a server whose headers do not end", async () => {
    const registry = await raw(`HTTP/1.1 200 OK\r\n${"X-Header: a\r\n".repeat(10_000)}`);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-invalid", /header/));
  });

  test("from a server that resets the connection", async () => {
    const port = await listen(createNetServer((socket) => socket.resetAndDestroy()));
    const registry = await clientOf(`127.0.0.1:${port}`);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-unreachable"));
  });

  test("from a body that stops, but what came is passed on", async () => {
    const registry = await raw(Buffer.concat([Buffer.from(head(blob.length)), blob.subarray(0, 100_000)]));
    let bytes = 0;
    const read = async () => {
      for await (const piece of registry.blob(descriptor)) bytes += piece.length;
    };
    await expect(read()).rejects.toEqual(failsWith("registry-timeout"));
    expect(bytes).toBe(100_000);
  });

  test("from a body of one byte at a time", async () => {
    const registry = await raw(head(blob.length), (socket) => {
      const drip = setInterval(() => socket.write("a"), 20);
      socket.on("close", () => clearInterval(drip));
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-timeout"));
  });

  test.each([1, -1, 1e12])("with a Content-Length that is %d bytes too large", async (difference) => {
    const registry = await raw(Buffer.concat([Buffer.from(head(blob.length + difference)), blob]));
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("size-mismatch"));
  });

  test("beyond its Content-Length, whatever else is sent", async () => {
    const registry = await raw(Buffer.concat([Buffer.from(head(blob.length)), blob, blob]));
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
  });

  test.each([404, 500])("from a server that answers %d", async (status) => {
    const { registry } = await serve((_, response) => response.writeHead(status).end("Sorry"));
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith(status === 404 ? "not-found" : "registry-refused", /Sorry/),
    );
  });

  test("as another part than was asked for", async () => {
    const { registry } = await serve((_, response) => {
      const body = blob.subarray(100);
      response
        .writeHead(206, { "Content-Range": "bytes 0-2999999/3000000", "Content-Length": body.length })
        .end(body);
    });
    await expect(collect(registry.blob(descriptor, 100))).rejects.toEqual(failsWith("registry-invalid"));
  });
});
