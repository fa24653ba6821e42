// Registries that are slow, endless, lying or broken (attacks A08-A13, A17, A18; faults F10, F11): each ends with
// its own error within its limit. The servers are made here, each bad in one named way.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer as createNetServer } from "node:net";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import {
  certificate,
  clientOf,
  collect,
  failsWith,
  listen,
  manifest,
  manifestHeaders,
  serve,
  serveTls,
  short,
} from "./bad-registry.ts";

const blob = randomBytes(200_000);
const descriptor: Descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };

describe("a registry that cannot be reached", () => {
  test("nothing listens there", async () => {
    const { registry, server } = await serve(() => undefined);
    server.close();
    await once(server, "close");
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-unreachable", /refused/));
  });

  test("its name is in no DNS", async () => {
    const registry = await clientOf("registry.invalid", { limits: { connectMs: 20_000 } });
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-unreachable", /DNS/));
  });

  test("it does not speak HTTP", async () => {
    const port = await listen(createNetServer((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n")));
    const registry = await clientOf(`127.0.0.1:${port}`);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid"));
  });

  test("it does not speak TLS", async () => {
    const { authority } = await serve((_, response) => response.end());
    const registry = await clientOf(authority, {}, (await certificate()).cert);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-unreachable", /TLS/));
  });

  test("its certificate is from an authority that is not known", async () => {
    const { authority } = await serveTls((_, response) => response.end());
    const registry = await clientOf(authority, {}, (await certificate()).cert);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-unreachable", /certificate/));
  });

  test("TLS stalls in the handshake", async () => {
    const port = await listen(createNetServer(() => undefined));
    const registry = await clientOf(`127.0.0.1:${port}`, {}, (await certificate()).cert);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-timeout", /connect/));
  });

  test("it resets every connection", async () => {
    const port = await listen(createNetServer((socket) => socket.resetAndDestroy()));
    const registry = await clientOf(`127.0.0.1:${port}`);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-unreachable", /closed/));
  });
});

describe("a registry that is slow", () => {
  test("no headers", async () => {
    const { registry } = await serve(() => undefined);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-timeout", /answer/));
  });

  test("one byte of header at a time", async () => {
    const server = createNetServer((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nX-Slow: ");
      const drip = setInterval(() => socket.write("a"), 20);
      socket.on("close", () => clearInterval(drip));
    });
    const registry = await clientOf(`127.0.0.1:${await listen(server)}`);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-timeout", /answer/));
  });

  test("a body that stops", async () => {
    const { registry } = await serve((_, response) => {
      response.writeHead(200, { "Content-Length": blob.length });
      response.write(blob.subarray(0, 1000));
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-timeout"));
  });

  test("a body of one byte at a time", async () => {
    const { registry } = await serve((_, response) => {
      response.writeHead(200, { "Content-Length": blob.length });
      const drip = setInterval(() => response.write("a"), 20);
      response.on("close", () => clearInterval(drip));
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-timeout"));
  });

  test("a manifest that never ends", async () => {
    const { registry } = await serve((_, response) => {
      response.writeHead(200, manifestHeaders());
      response.write(manifest);
    });
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-timeout"));
  });

  test("it does not take what is pushed", async () => {
    const { registry } = await serve((request, response) => {
      if (request.method === "HEAD") response.writeHead(404).end();
      else if (request.method === "POST") response.writeHead(202, { Location: "/upload" }).end();
    });
    const size = 64 * 1024 * 1024;
    const zeros = async function* () {
      for (let at = 0; at < size; at += 1024 * 1024) yield new Uint8Array(1024 * 1024);
    };
    await expect(registry.putBlob({ ...descriptor, size }, zeros)).rejects.toEqual(
      failsWith("registry-timeout"),
    );
  });

  test("a slow disk on this side is not the registry's fault", async () => {
    const { registry } = await serve((_, response) => response.end(blob));
    const pieces: Uint8Array[] = [];
    for await (const piece of registry.blob(descriptor)) {
      if (pieces.length === 0) await new Promise((resolve) => setTimeout(resolve, short.idleMs * 2));
      pieces.push(Uint8Array.from(piece));
    }
    expect(Buffer.concat(pieces).equals(blob)).toBe(true);
  });
});

describe("a registry that lies about sizes", () => {
  test.each([
    ["more", blob.length + 1],
    ["less", blob.length - 1],
  ])("a Content-Length of one byte %s than declared", async (_, length) => {
    const { registry } = await serve((_, response) => {
      response.writeHead(200, { "Content-Length": length });
      response.end(Buffer.concat([blob, Buffer.alloc(1)]).subarray(0, length));
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("size-mismatch"));
  });

  test.each([
    ["more", 1],
    ["less", -1],
  ])("one byte %s than declared, without a Content-Length", async (_, difference) => {
    const { registry } = await serve((_, response) => {
      response.write(blob.subarray(0, 10));
      response.end(Buffer.concat([blob, Buffer.alloc(1)]).subarray(10, blob.length + difference));
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("size-mismatch"));
  });

  test("a blob without end is left after its declared size", async () => {
    let isLeft = false;
    const { registry } = await serve((_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write(blob));
      };
      response.on("drain", more).on("close", () => {
        isLeft = true;
      });
      more();
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("size-mismatch"));
    await expect.poll(() => isLeft).toBe(true);
  });

  test("a manifest without end", async () => {
    const { registry } = await serve((_, response) => {
      response.writeHead(200, manifestHeaders());
      const more = (): void => {
        while (!response.destroyed && response.write(blob));
      };
      response.on("drain", more);
      more();
    });
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("too-large"));
  });

  test("headers without end", async () => {
    const server = createNetServer((socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      for (let i = 0; i < 1000; i++) socket.write(`X-Header-${i}: ${"a".repeat(100)}\r\n`);
    });
    const registry = await clientOf(`127.0.0.1:${await listen(server)}`);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid", /header/));
  });

  test("a small blob larger than its limit is not asked for", async () => {
    let requests = 0;
    const { registry } = await serve((_, response) => {
      requests++;
      response.end(blob);
    });
    await expect(registry.smallBlob(descriptor, 1000)).rejects.toEqual(failsWith("too-large"));
    expect(requests).toBe(0);
  });
});
