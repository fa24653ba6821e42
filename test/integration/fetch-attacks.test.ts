// Attacks on fetching, each through a real update (A09-A13): it ends with the named error within its limit, nothing on
// the device has changed, and once the attack is over the next update succeeds.
import { rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listGenerations } from "../../src/generation/generations.ts";
import { type PublishedSet, publishSet } from "./fetch-fixture.ts";
import { endless, send, sendIndex, type Tamper } from "./layout-server.ts";
import { makeSigners, type Signers } from "./refusals-fixture.ts";
import { isTag, largeOf, on, throughFault } from "./through-fault.ts";
import { makeWorkDirectory } from "./work-directory.ts";

let work: string;
let signers: Signers;
let set: PublishedSet;
let large: ReturnType<typeof largeOf>;
beforeAll(async () => {
  work = await makeWorkDirectory();
  signers = await makeSigners();
  set = await publishSet(work, signers, [2200, 100]);
  large = largeOf(set);
});
afterAll(() => rm(work, { recursive: true, force: true }));

const isLarge = ({ url }: IncomingMessage) => url?.endsWith(large.digest) === true;
const isConfig = ({ url }: IncomingMessage) => url?.endsWith(large.config) === true;
const jsonHeaders = { "Content-Type": "application/vnd.oci.image.manifest.v1+json" };
const drip = (response: ServerResponse, piece: string | Buffer, everyMs: number) => {
  const timer = setInterval(() => response.write(piece), everyMs);
  response.on("close", () => clearInterval(timer));
};

describe("A09, endless data:", () => {
  test.each<[string, Tamper, string]>([
    ["a manifest", on(isTag, (response) => endless(response.writeHead(200, jsonHeaders))), "too-large"],
    ["a configuration", on(isConfig, (response) => endless(response)), "size-mismatch"],
    ["a layer", on(isLarge, (response) => endless(response)), "size-mismatch"],
    [
      "a list of referrers",
      on(
        ({ url }) => url?.includes("/referrers/") === true,
        (response, request) => {
          response.setHeader("Link", `<${request.url}>; rel="next"`);
          sendIndex(response, []);
        },
      ),
      "too-large",
    ],
  ])("%s", async (_, fault, code) => {
    await throughFault(signers, set, fault, code);
  });
});

describe("A10, documents that are bombs:", () => {
  const document = (text: string | Buffer) =>
    on(isTag, (response) => send(response, Buffer.from(text), jsonHeaders));
  test.each<[string, Tamper]>([
    ["a million levels", document("[".repeat(1_000_000))],
    ["a million keys", document(`{${Array.from({ length: 200_000 }, (_, i) => `"${i}":0`).join()}}`)],
    ["a key twice", document('{"schemaVersion":2,"schemaVersion":2}')],
    ["__proto__", document('{"__proto__":{}}')],
    ["no UTF-8", document(Buffer.of(0x22, 0xff, 0x22))],
  ])("%s", async (_, fault) => {
    await throughFault(signers, set, fault, "document-invalid");
  });

  test("a layer in a coding that was not asked for is not unpacked", async () => {
    const fault = on(isLarge, (response) => {
      response.writeHead(200, { "Content-Encoding": "gzip", "Content-Length": 1000 }).end(Buffer.alloc(1000));
    });
    await throughFault(signers, set, fault, "registry-invalid");
  });
});

describe("A11, slow retrieval:", () => {
  test.each<[string, Tamper]>([
    ["no headers", on(isTag, () => undefined)],
    [
      "a manifest, byte by byte",
      on(isTag, (response) => {
        response.writeHead(200, jsonHeaders).write("{");
        drip(response, " ", 50);
      }),
    ],
    [
      "a configuration that stops",
      on(isConfig, (response) => {
        response.writeHead(200).write("{");
      }),
    ],
    [
      "a layer that stops",
      on(isLarge, (response) => {
        response
          .writeHead(200, { "Content-Length": large.bytes.length })
          .write(large.bytes.subarray(0, 100_000));
      }),
    ],
    [
      "a layer, byte by byte",
      on(isLarge, (response) => {
        response.writeHead(200, { "Content-Length": large.bytes.length }).flushHeaders();
        drip(response, "x", 50);
      }),
    ],
    [
      "the rest of a layer, byte by byte",
      on(isLarge, (response, request) => {
        if (request.headers.range !== undefined) return;
        response
          .writeHead(200, { "Content-Length": large.bytes.length })
          .write(large.bytes.subarray(0, 1_200_000));
        drip(response, "x", 50);
      }),
    ],
  ])("%s", async (_, fault) => {
    await throughFault(signers, set, fault, "registry-timeout");
  });
});

describe("A12, requests that are dropped:", () => {
  test.each<[string, Tamper, string]>([
    ["resets", on(isLarge, (_, request) => request.socket.resetAndDestroy()), "registry-unreachable"],
    [
      "resets of everything",
      on(
        () => true,
        (_, request) => request.socket.resetAndDestroy(),
      ),
      "registry-unreachable",
    ],
    ["404", on(isLarge, (response) => response.writeHead(404).end()), "not-found"],
    ["403", on(isLarge, (response) => response.writeHead(403).end()), "registry-refused"],
    [
      "429 with Retry-After",
      on(isLarge, (response) => response.writeHead(429, { "Retry-After": "1000000" }).end()),
      "registry-refused",
    ],
    ["503", on(isLarge, (response) => response.writeHead(503).end()), "registry-refused"],
    [
      "a log-in page",
      on(isTag, (response) => send(response, Buffer.from("<html>"), { "Content-Type": "text/html" })),
      "registry-invalid",
    ],
    [
      "a log-in page for a layer",
      on(isLarge, (response) => send(response, Buffer.from("<html>"))),
      "size-mismatch",
    ],
    [
      "401 without a way to log in",
      on(isLarge, (response) => response.writeHead(401).end()),
      "registry-invalid",
    ],
  ])("%s", async (_, fault, code) => {
    await throughFault(signers, set, fault, code);
  });
});

test("A13: one layer of several is withheld, and nothing is activated", async () => {
  const { device } = await throughFault(
    signers,
    set,
    on(isLarge, (response) => response.writeHead(404).end()),
    "not-found",
  );
  expect(await listGenerations(device.places)).toEqual([1]);
});
