// What tests of delta share: layers of two versions in a registry, a store that has the older one, and a registry in
// front of the real one that counts what it sends and can lie.
import { createReadStream } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { join } from "node:path";
import { expect } from "vitest";
import { type DeltaResult, fetchByDelta } from "../../src/delta/fetch-by-delta.ts";
import { inspectLayer } from "../../src/layers/inspect.ts";
import { type LayerFormat, type PackedLayer, packLayer } from "../../src/layers/pack.ts";
import { Layout } from "../../src/oci/layout.ts";
import type { Descriptor } from "../../src/oci/model.ts";
import type { Repository } from "../../src/oci/source.ts";
import { noise, temporaryDirectory } from "../support.ts";
import { listen } from "./bad-registry.ts";
import { pushImage, registryAt } from "./delta-images.ts";

/** A root of 40 files of 50 kB that do not compress, one of text, and what is given besides. */
export async function makeVersion(path: string, files: Readonly<Record<string, Uint8Array>>): Promise<void> {
  await mkdir(path, { recursive: true });
  for (let i = 0; i < 40; i++) await writeFile(join(path, `file-${i}`), noise(`file ${i}`, 50_000));
  await writeFile(join(path, "small"), "a small file");
  for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
}

async function packed(root: string, format: LayerFormat): Promise<PackedLayer> {
  const workDirectory = await temporaryDirectory();
  return await packLayer({ source: { kind: "directory", path: root }, format, workDirectory });
}

/** A store that has these layers. */
export async function storeWith(...layers: readonly PackedLayer[]): Promise<Layout> {
  const store = await Layout.create(join(await temporaryDirectory(), "oci"));
  for (const { path, descriptor } of layers) await store.putBlob(descriptor, () => createReadStream(path));
  return store;
}

/** Fetches a layer as an update does. */
export async function fetchLayer(
  store: Layout,
  images: Repository,
  layer: Descriptor,
  image: Descriptor,
  olderLayers: readonly Descriptor[],
): Promise<DeltaResult> {
  const wanted = { layer, service: "web", image: image.digest };
  return await fetchByDelta({ store, images, wanted, olderLayers, onBytes: () => undefined });
}

/** What a registry in between does with an answer: change its body, or its head; undefined passes it on. */
export type Meddle = (
  incoming: IncomingMessage,
  answer: { status: number; headers: IncomingMessage["headers"]; body: Buffer },
) => void;

/** Stands before a registry, counts the bytes of all bodies that it sends, and meddles with them. */
export async function meddlingProxy(authority: string, meddle: Meddle = () => undefined) {
  const [host, port] = authority.split(":");
  const counted = { sent: 0, requests: 0 };
  const server = createServer((incoming: IncomingMessage, response: ServerResponse) => {
    const { method, url, headers } = incoming;
    const outgoing = request({ host, port, method, path: url, headers }, async (message) => {
      const pieces: Buffer[] = [];
      for await (const piece of message) pieces.push(piece);
      const answer = {
        status: message.statusCode ?? 502,
        headers: { ...message.headers },
        body: Buffer.concat(pieces),
      };
      meddle(incoming, answer);
      if (method !== "HEAD") answer.headers["content-length"] = String(answer.body.length);
      counted.sent += method === "HEAD" ? 0 : answer.body.length;
      counted.requests++;
      response.writeHead(answer.status, answer.headers).end(method === "HEAD" ? undefined : answer.body);
    });
    outgoing.on("error", () => response.destroy());
    incoming.pipe(outgoing);
  });
  return { authority: `127.0.0.1:${await listen(server)}`, counted };
}

/** Each test has an image of its own: patches stay in the registry. */
let number = 0;

/** A layer of the usual root with these files. */
export async function layerOf(
  files: Readonly<Record<string, Uint8Array>>,
  format: LayerFormat = "erofs",
): Promise<PackedLayer> {
  const root = join(await temporaryDirectory(), "root");
  await makeVersion(root, files);
  return await packed(root, format);
}

/** Two versions of a layer, and the image of the newer. */
export interface Versions {
  readonly older: PackedLayer;
  readonly newer: PackedLayer;
  readonly image: Descriptor;
}

/** Makes two versions, of which one file differs in some bytes, and puts the newer into a registry. */
export async function twoVersions(authority: string, format: LayerFormat = "erofs"): Promise<Versions> {
  const text = noise(`changes ${++number}`, 50_000);
  const older = await layerOf({ "file-7": text }, format);
  const changed = Buffer.concat([Buffer.from("something new"), text, Buffer.from("and at the end")]);
  const newer = await layerOf({ "file-7": changed, small: Buffer.from("another small file") }, format);
  return { older, newer, image: (await pushImage(registryAt(authority), newer)).descriptor };
}

/** That a store has exactly this layer. */
export async function expectWhole(store: Layout, { path, descriptor }: PackedLayer): Promise<void> {
  const stored = store.blobPath(descriptor.digest);
  expect((await readFile(stored)).equals(await readFile(path))).toBe(true);
  await inspectLayer(stored, descriptor);
}
