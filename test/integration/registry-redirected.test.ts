// Large blobs that a registry keeps elsewhere, as most public ones do: the same rules for redirects and credentials
// (attack A18) as for everything else, and no detour through memory (direct-get.ts).
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import { clientOf, collect, failsWith, listen, serve, serveTls } from "./bad-registry.ts";

const blob = randomBytes(3_000_000);
const descriptor: Descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };
const auth = Buffer.from("user:secret").toString("base64");

const storage: RequestListener = (request, response) => {
  const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  response.writeHead(from === 0 ? 200 : 206, {
    "Content-Length": blob.length - from,
    ...(from === 0 ? {} : { "Content-Range": `bytes ${from}-${blob.length - 1}/${blob.length}` }),
  });
  response.end(blob.subarray(from));
};

/** A registry that knows who may read, and keeps its own account of who asked. */
async function guarded(listener: RequestListener, isAllowed: (request: IncomingMessage) => boolean) {
  const asked: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    asked.push(request.headers.authorization);
    if (isAllowed(request)) listener(request, response);
    else response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' }).end();
  });
  const authority = `127.0.0.1:${await listen(server)}`;
  return { registry: await clientOf(authority, { auths: { [authority]: { auth } } }), asked };
}

describe("a large blob that is kept elsewhere", () => {
  test("is asked for once, here and there, and comes whole from any offset", async () => {
    let requests = 0;
    const other = await serve((request, response) => {
      requests++;
      storage(request, response);
    });
    const { registry } = await serve((_, response) => {
      requests++;
      response.writeHead(307, { Location: `http://${other.authority}/storage?sig=%2Fa%3D` }).end();
    });
    for (const offset of [0, 1_234_567]) {
      requests = 0;
      const found = await collect(registry.blob(descriptor, offset));
      expect(found.equals(blob.subarray(offset))).toBe(true);
      expect(requests).toBe(2);
    }
  });

  test("comes over TLS from a registry over TLS", async () => {
    const { registry } = await serveTls((request, response) => {
      if (request.url === "/storage") storage(request, response);
      else response.writeHead(302, { Location: "/storage" }).end();
    });
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
  });

  test("does not come from https over plain http", async () => {
    const other = await serve(storage);
    const { registry } = await serveTls((_, response) =>
      response.writeHead(307, { Location: `http://${other.authority}/storage` }).end(),
    );
    const refused = failsWith("registry-invalid", /https to plain http/);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(refused);
  });

  test("does not come from a circle", async () => {
    let requests = 0;
    const { registry } = await serve((request, response) => {
      requests++;
      response.writeHead(302, { Location: request.url }).end();
    });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith("registry-invalid", /redirects more than 5 times/),
    );
    expect(requests).toBe(6);
  });

  test.each([
    ["nowhere", undefined],
    ["a file", "file:///etc/passwd"],
    ["a URL with credentials", "http://user:secret@127.0.0.1/"],
  ])("does not come from %s", async (_, location) => {
    const { registry } = await serve((_, response) =>
      response.writeHead(302, location === undefined ? {} : { Location: location }).end(),
    );
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-invalid"));
  });
});

describe("credentials for a large blob", () => {
  test("are given to the registry, and not to where it redirects, even on the way back", async () => {
    const seen: (string | undefined)[] = [];
    let home = "";
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(307, { Location: `${home}/back` }).end();
    });
    const { registry, asked } = await guarded(
      (request, response) => {
        home = `http://${request.headers.host}`;
        if (request.url === "/back") storage(request, response);
        else response.writeHead(307, { Location: `http://${other.authority}/` }).end();
      },
      ({ url, headers }) => url === "/back" || headers.authorization === `Basic ${auth}`,
    );
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    expect(seen).toEqual([undefined]);
    expect(asked).toEqual([undefined, `Basic ${auth}`, undefined]);
  });

  test("are not given to a storage that asks for them", async () => {
    const seen: (string | undefined)[] = [];
    const other = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(401, { "WWW-Authenticate": 'Basic realm="test"' }).end();
    });
    const { registry } = await guarded(
      (_, response) => response.writeHead(307, { Location: `http://${other.authority}/` }).end(),
      () => true,
    );
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-refused", /401/));
    expect(seen.every((authorization) => authorization === undefined)).toBe(true);
  });

  test("are renewed when a token has run out since the last one", async () => {
    let tokens = 0;
    let valid = "";
    const port = await listen(
      createServer((request, response) => {
        const host = request.headers.host;
        if (request.url?.startsWith("/token")) {
          valid = `token-${++tokens}`;
          response.end(JSON.stringify({ token: valid }));
        } else if (request.headers.authorization === `Bearer ${valid}`) storage(request, response);
        else {
          const challenge = `Bearer realm="http://${host}/token",service="test"`;
          response.writeHead(401, { "WWW-Authenticate": challenge }).end();
        }
      }),
    );
    const registry = await clientOf(`127.0.0.1:${port}`);
    for (const expected of [1, 1, 2]) {
      if (expected === 2) valid = "run out";
      expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
      expect(tokens).toBe(expected);
    }
  });

  test("that are wrong are named as the reason", async () => {
    const { registry } = await guarded(storage, () => false);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith("registry-unauthorized", /does not accept/),
    );
  });
});
