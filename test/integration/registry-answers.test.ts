// Registries that lie about content, answer nonsense, or break in the middle (attacks A08, A12, A17; fault F11),
// and those with and without the referrers API.
import { randomBytes } from "node:crypto";
import type { RequestListener } from "node:http";
import { describe, expect, test } from "vitest";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type Descriptor, mediaTypes } from "../../src/oci/model.ts";
import { collect, failsWith, manifest, manifestHeaders, piecesOf, serve } from "./bad-registry.ts";

const blob = randomBytes(200_000);
const descriptor: Descriptor = { mediaType: "x/y", digest: digestOf(blob), size: blob.length };

describe("a registry that lies about content", () => {
  test("a blob with one flipped bit", async () => {
    const flipped = Buffer.from(blob);
    flipped[1000] = (flipped[1000] ?? 0) ^ 1;
    const { registry } = await serve((_, response) => response.end(flipped));
    await expect(registry.smallBlob(descriptor, blob.length)).rejects.toEqual(failsWith("digest-mismatch"));
  });

  test("another manifest than the digest that was asked for", async () => {
    const { registry } = await serve((_, response) =>
      response.writeHead(200, manifestHeaders()).end(manifest),
    );
    await expect(registry.manifest(digestOf("other"))).rejects.toEqual(failsWith("digest-mismatch"));
  });

  test("a tag's manifest that is not what Docker-Content-Digest says", async () => {
    const { registry } = await serve((_, response) =>
      response.writeHead(200, manifestHeaders({ "Docker-Content-Digest": digestOf("other") })).end(manifest),
    );
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("digest-mismatch"));
  });

  test("a captive portal that answers everything with its page", async () => {
    const { registry } = await serve((_, response) =>
      response.writeHead(200, { "Content-Type": "text/html" }).end("<html>Log in</html>"),
    );
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("registry-invalid", /text\/html/));
    await expect(registry.referrers(descriptor.digest)).rejects.toEqual(failsWith("registry-invalid"));
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("size-mismatch"));
  });

  test("a manifest in Docker's format says how to convert it", async () => {
    const { registry } = await serve((_, response) =>
      response
        .writeHead(200, { "Content-Type": "application/vnd.docker.distribution.manifest.v2+json" })
        .end("{}"),
    );
    await expect(registry.manifest("1")).rejects.toMatchObject({
      code: "document-invalid",
      hint: expect.stringContaining("skopeo copy"),
    });
  });

  test("a coding that was not asked for", async () => {
    const { registry } = await serve((_, response) =>
      response.writeHead(200, { "Content-Encoding": "gzip" }).end(blob),
    );
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(failsWith("registry-invalid"));
  });

  test("an index that leads to an index", async () => {
    const index = (digest: Digest, size: number) =>
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.index,
        manifests: [{ mediaType: mediaTypes.manifest, digest, size }],
      });
    const inner = index(descriptor.digest, 1);
    const outer = index(digestOf(inner), inner.length);
    const { registry } = await serve((request, response) =>
      response
        .writeHead(200, { "Content-Type": mediaTypes.index })
        .end(request.url?.endsWith("/1") ? outer : inner),
    );
    await expect(registry.manifest("1")).rejects.toEqual(failsWith("document-invalid"));
  });

  test.each([204, 304, 403, 429, 500, 503])("an answer of %d", async (status) => {
    const { registry } = await serve((_, response) =>
      response.writeHead(status).end(status < 400 ? undefined : "Sorry\u001b[2J\u202e\n"),
    );
    const refused = failsWith("registry-refused", new RegExp(`GET /v2/some/image/.* ${status}`));
    await expect(registry.manifest("1")).rejects.toEqual(refused);
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(refused);
    const error: unknown = await registry.manifest("1").catch((thrown: unknown) => thrown);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may come through
    expect(String(error)).not.toMatch(/[\u0000-\u001f\u007f\u202e]/);
  });

  test("a push that is answered with 200 instead of 201 is a failed push", async () => {
    const { registry } = await serve((request, response) => {
      if (request.method === "HEAD") response.writeHead(404).end();
      else if (request.method === "POST") response.writeHead(202, { Location: "/upload" }).end();
      else request.resume().on("end", () => response.writeHead(200).end());
    });
    await expect(registry.putBlob(descriptor, () => piecesOf(blob))).rejects.toEqual(
      failsWith("push-failed", /PUT \/upload .* 200/),
    );
    await expect(registry.putManifest(manifest, mediaTypes.manifest, "1")).rejects.toEqual(
      failsWith("push-failed", /200/),
    );
  });

  test("a push that is refused before its end is stopped with the registry's words", async () => {
    const { registry } = await serve((request, response) => {
      if (request.method === "HEAD") response.writeHead(404).end();
      else if (request.method === "POST") response.writeHead(202, { Location: "/upload" }).end();
      else {
        const errors = [{ code: "SIZE_INVALID", message: "quota exceeded" }];
        response.writeHead(413, { "Content-Type": "application/json" }).end(JSON.stringify({ errors }));
      }
    });
    const size = 64 * 1024 * 1024;
    const zeros = async function* () {
      for (let at = 0; at < size; at += 1024 * 1024) yield new Uint8Array(1024 * 1024);
    };
    await expect(registry.putBlob({ ...descriptor, size }, zeros)).rejects.toEqual(
      failsWith("push-failed", /413 \(SIZE_INVALID: quota exceeded\)/),
    );
  });
});

describe("a connection that breaks", () => {
  /** Sends `bytes` bytes of each answer, then breaks the connection. */
  function breaking(bytes: number): { readonly listener: RequestListener; readonly ranges: string[] } {
    const ranges: string[] = [];
    return {
      ranges,
      listener: (request, response) => {
        ranges.push(request.headers.range ?? "");
        const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
        response.writeHead(from === 0 ? 200 : 206, {
          "Content-Length": blob.length - from,
          ...(from === 0 ? {} : { "Content-Range": `bytes ${from}-${blob.length - 1}/${blob.length}` }),
        });
        if (from + bytes >= blob.length) response.end(blob.subarray(from));
        else response.write(blob.subarray(from, from + bytes), () => response.destroy());
      },
    };
  }

  test("is made again, and the blob continues where it stopped", async () => {
    const { listener, ranges } = breaking(70_000);
    const { registry } = await serve(listener);
    expect((await collect(registry.blob(descriptor))).equals(blob)).toBe(true);
    expect(ranges).toHaveLength(3);
  });

  test("again and again is an error in the end", async () => {
    const { listener } = breaking(1000);
    const { registry } = await serve(listener, { limits: { resumes: 3 } });
    await expect(collect(registry.blob(descriptor))).rejects.toEqual(
      failsWith("registry-unreachable", /broke/),
    );
  });

  test("a server without ranges sends all of it again, and what is there already is passed over", async () => {
    const { registry } = await serve((_, response) => response.end(blob));
    expect((await collect(registry.blob(descriptor, 150_000))).equals(blob.subarray(150_000))).toBe(true);
  });

  test.each([
    ["another part", "bytes 0-199999/200000", "registry-invalid"],
    ["another total", "bytes 100-199999/300000", "size-mismatch"],
    ["a shorter part", "bytes 100-199998/200000", "size-mismatch"],
    ["no Content-Range", "", "registry-invalid"],
  ])("a partial answer with %s is refused", async (_, range, code) => {
    const { registry } = await serve((_, response) =>
      response.writeHead(206, range === "" ? {} : { "Content-Range": range }).end(blob.subarray(100)),
    );
    await expect(collect(registry.blob(descriptor, 100))).rejects.toEqual(failsWith(code));
  });

  test("a kept connection that the server closed meanwhile is no error", async () => {
    const { registry, server } = await serve((_, response) =>
      response.writeHead(200, manifestHeaders({ Connection: "keep-alive" })).end(manifest),
    );
    await registry.manifest("1");
    server.closeAllConnections();
    expect((await registry.manifest("1")).size).toBe(manifest.length);
  });
});

describe("the referrers API", () => {
  const referrer = { mediaType: mediaTypes.manifest, digest: digestOf("referrer"), size: 8 };
  const list = (manifests: readonly Descriptor[]) =>
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });

  test("is used where it is, page by page", async () => {
    const second = { ...referrer, digest: digestOf("second") };
    const { registry } = await serve((request, response) => {
      const isFirst = !request.url?.includes("page=2");
      response
        .writeHead(200, {
          "Content-Type": mediaTypes.index,
          ...(isFirst ? { Link: `<${request.url}?page=2>; rel="next"` } : {}),
        })
        .end(list([isFirst ? referrer : second]));
    });
    expect(await registry.referrers(digestOf("subject"))).toMatchObject([referrer, second]);
  });

  test("with pages without end is an error", async () => {
    const { registry } = await serve((request, response) =>
      response
        .writeHead(200, { "Content-Type": mediaTypes.index, Link: `<${request.url}>; rel="next"` })
        .end(list([referrer])),
    );
    await expect(registry.referrers(digestOf("subject"))).rejects.toEqual(failsWith("too-large"));
  });

  test.each([404, 400, 405, 200])(
    "that answers %d without an index leads to the fallback tag",
    async (status) => {
      const { registry } = await serve((request, response) => {
        if (request.url?.includes("/referrers/")) {
          response.writeHead(status, { "Content-Type": "text/html" }).end("<html>");
        } else response.writeHead(200, { "Content-Type": mediaTypes.index }).end(list([referrer]));
      });
      expect(await registry.referrers(digestOf("subject"))).toMatchObject([referrer]);
    },
  );

  test("that fails is an error, not an empty list", async () => {
    const { registry } = await serve((_, response) => response.writeHead(503).end());
    await expect(registry.referrers(digestOf("subject"))).rejects.toEqual(failsWith("registry-refused"));
  });

  test("of a registry that lists by itself saves the fallback tag", async () => {
    const subject = digestOf("subject");
    const signature = new TextEncoder().encode(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: { mediaType: mediaTypes.empty, digest: digestOf("{}"), size: 2 },
        layers: [],
        subject: { mediaType: mediaTypes.manifest, digest: subject, size: 7 },
      }),
    );
    const requests: string[] = [];
    const { registry } = await serve((request, response) => {
      requests.push(`${request.method} ${request.url}`);
      if (request.method === "HEAD") response.writeHead(404).end();
      else request.resume().on("end", () => response.writeHead(201, { "OCI-Subject": subject }).end());
    });
    const digest = await registry.putManifest(signature, mediaTypes.manifest);
    expect(requests).toEqual(["HEAD", "PUT"].map((method) => `${method} /v2/some/image/manifests/${digest}`));
  });
});
