// Where the registry client goes and whom it tells who it is: redirects (attack A18), credentials, tokens.
import { randomBytes } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
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
  piecesOf,
  serve,
  serveTls,
} from "./bad-registry.ts";

const blob = randomBytes(200_000);
const descriptor: Descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };

describe("redirects", () => {
  test("are followed to the content", async () => {
    const { registry } = await serve((request, response) => {
      if (request.url === "/elsewhere") response.end(blob);
      else response.writeHead(307, { Location: "/elsewhere" }).end();
    });
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
  });

  test("in a circle end", async () => {
    let requests = 0;
    const { registry } = await serve((request, response) => {
      requests++;
      response.writeHead(302, { Location: request.url }).end();
    });
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid", /redirects/));
    expect(requests).toBe(6);
  });

  test("to another host do not carry the credentials", async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end(blob);
    });
    const auth = Buffer.from("user:secret").toString("base64");
    const port = await listen(
      createServer((request, response) => {
        if (request.headers.authorization === undefined) {
          response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' }).end();
        } else response.writeHead(307, { Location: `http://${other.authority}/blob` }).end();
      }),
    );
    const authority = `127.0.0.1:${port}`;
    const registry = await clientOf(authority, { auths: { [authority]: { auth } } });
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    expect(seen).toEqual([undefined]);
  });

  test("of an upload to another host do not carry the credentials", async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      request.resume().on("end", () => response.writeHead(201).end());
    });
    const auth = Buffer.from("user:secret").toString("base64");
    const port = await listen(
      createServer((request, response) => {
        if (request.headers.authorization === undefined) {
          response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' }).end();
        } else if (request.method === "HEAD") response.writeHead(404).end();
        else response.writeHead(202, { Location: `http://${other.authority}/upload?state=1` }).end();
      }),
    );
    const authority = `127.0.0.1:${port}`;
    const registry = await clientOf(authority, { auths: { [authority]: { auth } } });
    expect(await registry.putBlob(descriptor, () => piecesOf(blob))).toBe("sent");
    expect(seen).toEqual([undefined]);
  });

  test("from https to http are refused, for content and for uploads", async () => {
    const plain = await serve((_, response) => response.end(blob));
    const { registry } = await serveTls((request, response) => {
      const Location = `http://${plain.authority}/blob`;
      if (request.method === "HEAD") response.writeHead(404).end();
      else response.writeHead(request.method === "POST" ? 202 : 307, { Location }).end();
    });
    const refused = failsWith("registry-invalid", /https to plain http/);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(refused);
    await expect(registry.putBlob(descriptor, () => piecesOf(blob))).rejects.toEqual(refused);
  });

  test.each([
    ["nowhere", undefined],
    ["what is no URL", "http://["],
    ["a file", "file:///etc/passwd"],
    ["a URL with credentials", "http://user:secret@127.0.0.1/"],
  ])("to %s are refused", async (_, location) => {
    const { registry } = await serve((_, response) =>
      response.writeHead(302, location === undefined ? {} : { Location: location }).end(),
    );
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid"));
  });
});

describe("credentials", () => {
  const auth = Buffer.from("user:secret").toString("base64");

  /** A registry that wants a token from `/token`, which wants the credentials. */
  function tokenRegistry(seen: string[]): RequestListener {
    return (request, response) => {
      seen.push(`${request.method} ${request.url}`);
      const authority = request.headers.host;
      if (request.url?.startsWith("/token")) {
        const isKnown = request.headers.authorization === `Basic ${auth}`;
        response.writeHead(isKnown ? 200 : 401).end(isKnown ? JSON.stringify({ token: "abc.def" }) : "");
      } else if (request.headers.authorization === "Bearer abc.def") {
        response.writeHead(200, manifestHeaders()).end(manifest);
      } else {
        const challenge = `Bearer realm="http://${authority}/token",service="test",scope="repository:some/image:pull"`;
        response.writeHead(401, { "WWW-Authenticate": challenge }).end();
      }
    };
  }

  async function withAuths(
    listener: RequestListener,
    entry: { auth?: string; identitytoken?: string } | undefined,
  ) {
    const authority = `127.0.0.1:${await listen(createServer(listener))}`;
    return await clientOf(authority, entry === undefined ? {} : { auths: { [authority]: entry } });
  }

  const basicRegistry: RequestListener = (request, response) => {
    if (request.headers.authorization === `Basic ${auth}`) {
      response.writeHead(200, manifestHeaders()).end(manifest);
    } else response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' }).end();
  };

  test("Basic: those of auth.json are used", async () => {
    const registry = await withAuths(basicRegistry, { auth });
    expect((await registry.manifest("1")).digest).toBe(digestOf(manifest));
  });

  test("Basic: none, and wrong ones, are named as the reason", async () => {
    await expect((await withAuths(basicRegistry, undefined)).manifest("1")).rejects.toEqual(
      failsWith("registry-unauthorized", /wants credentials/),
    );
    const wrong = { auth: Buffer.from("user:wrong").toString("base64") };
    const error: unknown = await (await withAuths(basicRegistry, wrong))
      .manifest("1")
      .catch((thrown: unknown) => thrown);
    expect(error).toEqual(failsWith("registry-unauthorized", /does not accept/));
    expect(JSON.stringify(error)).not.toMatch(/wrong/);
  });

  test("Bearer: a token is fetched once and used again", async () => {
    const seen: string[] = [];
    const registry = await withAuths(tokenRegistry(seen), { auth });
    await registry.manifest("1");
    await registry.manifest("1");
    expect(seen).toEqual([
      "GET /v2/some/image/manifests/1",
      "GET /token?service=test&scope=repository%3Asome%2Fimage%3Apull",
      "GET /v2/some/image/manifests/1",
      "GET /v2/some/image/manifests/1",
    ]);
  });

  test("Bearer: an identity token is exchanged", async () => {
    let form = "";
    const registry = await withAuths(
      (request, response) => {
        if (request.url === "/token") {
          request.on("data", (piece) => {
            form += String(piece);
          });
          request.on("end", () => response.end(JSON.stringify({ access_token: "abc" })));
        } else if (request.headers.authorization === "Bearer abc") {
          response.writeHead(200, manifestHeaders()).end(manifest);
        } else {
          const challenge = `Bearer realm="http://${request.headers.host}/token",service="test"`;
          response.writeHead(401, { "WWW-Authenticate": challenge }).end();
        }
      },
      { auth: Buffer.from("user:").toString("base64"), identitytoken: "refresh-me" },
    );
    await registry.manifest("1");
    expect(Object.fromEntries(new URLSearchParams(form))).toMatchObject({
      grant_type: "refresh_token",
      refresh_token: "refresh-me",
      scope: "repository:some/image:pull",
    });
  });

  test("Bearer: a token server that refuses is named as the reason", async () => {
    const registry = await withAuths(tokenRegistry([]), undefined);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-unauthorized"));
  });

  test.each([
    ["malformed", 'Bearer realm="http://127.0.0.1/'],
    ["of an unknown kind", "Negotiate"],
    ["without a realm", 'Bearer service="x"'],
    ["with a realm elsewhere in the clear", 'Bearer realm="http://tokens.invalid/"'],
    ["with a realm that is a file", 'Bearer realm="file:///etc/passwd"'],
  ])("a challenge %s is not followed", async (_, challenge) => {
    const registry = await withAuths(
      (_, response) => response.writeHead(401, { "WWW-Authenticate": challenge }).end(),
      { auth },
    );
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid"));
  });

  test("a token server in the clear is refused by a client that came over TLS", async () => {
    const seen: string[] = [];
    const plain = await serve(tokenRegistry(seen));
    const { key, cert } = await certificate();
    const server = createTlsServer({ key, cert }, (_, response) =>
      response.writeHead(401, { "WWW-Authenticate": `Bearer realm="http://${plain.authority}/token"` }).end(),
    );
    const authority = `127.0.0.1:${await listen(server)}`;
    const registry = await clientOf(authority, { auths: { [authority]: { auth } } }, cert);
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid", /plain http/));
    expect(seen).toEqual([]);
  });

  test.each([
    ["without end", (response: Parameters<RequestListener>[1]) => response.end(Buffer.alloc(100_000, " "))],
    ["with a line break", (response: Parameters<RequestListener>[1]) => response.end('{"token":"a\\r\\nb"}')],
    ["of HTML", (response: Parameters<RequestListener>[1]) => response.end("<html>")],
  ])("a token %s is refused", async (_, answer) => {
    const registry = await withAuths(
      (request, response) => {
        if (request.url?.startsWith("/token")) answer(response);
        else {
          const challenge = `Bearer realm="http://${request.headers.host}/token"`;
          response.writeHead(401, { "WWW-Authenticate": challenge }).end();
        }
      },
      { auth },
    );
    await expect(registry.manifest("1")).rejects.toMatchObject({
      code: expect.stringMatching(/registry-invalid|too-large/),
    });
  });
});
