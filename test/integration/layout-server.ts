// A registry that serves a published manifest as it is, but for the requests that a test answers in its place.
import { readFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { type Digest, hexOf, isDigest } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { serve } from "./bad-registry.ts";
import { type Parts, published } from "./refusals-fixture.ts";

/** Range by which an update asks what kind of layer it is, and whether blocks that are there can be used. */
export const superblock = "bytes=0-4095";

/** Answers a request itself, or returns false. */
export type Tamper = (request: IncomingMessage, response: ServerResponse) => boolean;

/** A registry that serves parts under any repository name. */
export async function serveParts(parts: Parts, tamper: Tamper = () => false): Promise<string> {
  const { directory } = await published(parts);
  return `${await serveLayout(directory, tamper)}/machine/install:1.0.0`;
}

/** A registry that serves a layout under any repository name. Returns its host and port. */
export async function serveLayout(
  directory: string,
  tamper: Tamper = () => false,
  host?: string,
): Promise<string> {
  const layout = await Layout.open(directory);
  const answer = async (path: string, range: string | undefined, response: ServerResponse) => {
    const [, kind, name = ""] = /\/(manifests|blobs|referrers)\/([^/?]+)$/.exec(path) ?? [];
    if (kind === "referrers") return sendIndex(response, await layout.referrers(name as Digest));
    if (kind === "manifests") {
      const { bytes, mediaType, digest } = await layout.manifest(name);
      return send(response, bytes, { "Content-Type": mediaType, "Docker-Content-Digest": digest });
    }
    if (!isDigest(name)) throw new Error("no such path");
    sendRange(response, await readFile(join(directory, "blobs/sha256", hexOf(name))), range);
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    if (tamper(request, response)) return;
    answer(request.url ?? "", request.headers.range, response).catch(() => response.writeHead(404).end());
  };
  const { authority } = await serve(listener, {}, host);
  return authority;
}

/** Sends bytes, or the part from where a request's Range begins to their end. */
export function sendRange(response: ServerResponse, bytes: Uint8Array, range: string | undefined): void {
  const from = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
  if (from === 0) {
    send(response, bytes);
    return;
  }
  const { length } = bytes;
  response.writeHead(206, {
    "Content-Length": length - from,
    "Content-Range": `bytes ${from}-${length - 1}/${length}`,
  });
  response.end(bytes.subarray(from));
}

export function send(
  response: ServerResponse,
  bytes: Uint8Array,
  headers: Record<string, string> = {},
): void {
  response.writeHead(200, { "Content-Length": bytes.length, ...headers }).end(bytes);
}

export function sendIndex(response: ServerResponse, manifests: unknown): void {
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }));
  send(response, index, { "Content-Type": mediaTypes.index });
}

/** Tampers with what is asked for by a path that ends so. */
export function at(end: () => string, answer: (response: ServerResponse) => void): Tamper {
  return (request, response) => {
    if (!(request.url ?? "").endsWith(end())) return false;
    answer(response);
    return true;
  };
}

/** Sends bytes for as long as somebody takes them. */
export function endless(response: ServerResponse): void {
  const more = () => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536, "x")));
  };
  response.on("drain", more);
  more();
}
