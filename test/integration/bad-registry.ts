// Servers for tests of the registry client, each as bad as its test makes it, and a client with short limits.
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Server as NetServer, Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { defaultLimits, type RegistryLimits } from "../../src/oci/limits.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { Registry } from "../../src/oci/registry.ts";
import { Session } from "../../src/oci/session.ts";
import { run } from "../../src/system/process.ts";
import { temporaryDirectory } from "../support.ts";

export const short: RegistryLimits = {
  ...defaultLimits,
  connectMs: 300,
  headersMs: 300,
  idleMs: 300,
  storeMs: 300,
  rateWindowMs: 400,
  minBytesPerSecond: 1000,
};

export const manifest = new TextEncoder().encode(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.empty, digest: digestOf("{}"), size: 2 },
    layers: [],
  }),
);

export async function listen(server: NetServer, host = "127.0.0.1"): Promise<number> {
  server.listen(0, host);
  await once(server, "listening");
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

interface Options {
  readonly limits?: Partial<RegistryLimits>;
  readonly auths?: Record<string, { auth?: string; identitytoken?: string }>;
}

export async function clientOf(authority: string, options: Options = {}, ca?: string): Promise<Registry> {
  const file = join(await temporaryDirectory(), "auth.json");
  await writeFile(file, JSON.stringify({ auths: options.auths ?? {} }));
  const limits = { ...short, ...options.limits };
  return new Registry(
    new Session(
      { scheme: ca === undefined ? "http" : "https", authority },
      { limits, credentialFiles: [file], ...(ca === undefined ? {} : { ca }) },
    ),
    "some/image",
  );
}

/** A registry that answers as `listener` does. */
export async function serve(listener: RequestListener, options: Options = {}, host = "127.0.0.1") {
  const server = createServer(listener);
  const port = await listen(server, host);
  const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return { registry: await clientOf(authority, options), authority, server };
}

export async function certificate() {
  const directory = await temporaryDirectory();
  const [key, cert] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  await run("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=test".split(" "),
    ...["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
  ]);
  return { key: await readFile(key, "utf8"), cert: await readFile(cert, "utf8") };
}

export async function serveTls(listener: RequestListener, options: Options = {}) {
  const { key, cert } = await certificate();
  const server: Server = createTlsServer({ key, cert }, listener);
  const authority = `127.0.0.1:${await listen(server)}`;
  return { registry: await clientOf(authority, options, cert), authority, cert };
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(Uint8Array.from(piece));
  return Buffer.concat(pieces);
}

export async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

export function manifestHeaders(extra: Record<string, string | number> = {}) {
  return { "Content-Type": mediaTypes.manifest, ...extra };
}

export const failsWith = (code: string, message?: RegExp) =>
  expect.objectContaining({
    code,
    ...(message === undefined ? {} : { message: expect.stringMatching(message) }),
  });
