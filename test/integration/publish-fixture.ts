// What tests of publishing share: a project, a root to publish, and a registry that does less than it should.
import { KeyObject } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { parseManifestYaml } from "../../src/manifest/manifest-yaml.ts";
import { openWritable } from "../../src/oci/open.ts";
import { parseDestination } from "../../src/oci/reference.ts";
import { type Destination, type Published, publish } from "../../src/publish/publish.ts";
import { signerOf } from "../../src/publish/sign.ts";
import type { Project } from "../../src/trust/keyset.ts";
import { readSigningKey } from "../../src/trust/signature.ts";
import type { Issued } from "../unit/trust/authority.ts";
import { listen } from "./bad-registry.ts";

/** A project of a keyset that is nowhere on the disk. */
export function projectOf({ pem, keys }: Issued): Project {
  const key = KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" }).toString();
  return { uuid: "", path: "", certificatePem: pem, caPem: "", key: readSigningKey(key, "test") };
}

/** A root with one program of the given text. */
export async function makeRoot(path: string, text: string): Promise<void> {
  await mkdir(join(path, "bin"), { recursive: true });
  await writeFile(join(path, "bin/service"), text, { mode: 0o755 });
}

export interface PublishCall {
  readonly project: Project;
  /** The directory that the source is relative to. */
  readonly directory: string;
  /** Of its one target: `source`, and further lines of YAML in braces' form. */
  readonly target: string;
  readonly destination: Destination;
  /** Older publications to make patches from. */
  readonly patchFrom?: readonly string[];
}

/** `PATH:TAG` of a registry. */
export function registryDestination(authority: string, name: string): Destination {
  const reference = parseDestination(authority, name);
  return { ...openWritable(reference), tag: reference.reference };
}

/** The tag `1` of an OCI layout. */
export function layoutDestination(directory: string): Destination {
  return { ...openWritable({ kind: "oci", directory, reference: "1" }), tag: "1" };
}

/** Publishes a manifest of one target, as `mosb manifest publish` does. */
export async function publishTarget(call: PublishCall): Promise<Published> {
  const yaml = `version: 1\nproduct: p\ntargets:\n  - {service_name: web, version: "1", ${call.target}}\n`;
  return await publish({
    manifest: parseManifestYaml(yaml, "manifest.yaml"),
    baseDirectory: call.directory,
    signers: [signerOf(call.project, false)],
    destination: call.destination,
    format: "squashfs",
    patchFrom: call.patchFrom ?? [],
    created: new Date().toISOString(),
    onStep: () => undefined,
  });
}

/** A target that is packed from `root` and can run. */
export const packedTarget = 'source: "rootfs:root", image: {entrypoint: [/bin/service]}';

/** Stands before a registry and answers some requests itself: with the status that `refuse` gives. */
export async function refusingProxy(
  authority: string,
  refuse: (incoming: IncomingMessage) => number | undefined,
): Promise<string> {
  const [host, port] = authority.split(":");
  const server = createServer((incoming, response) => {
    const status = refuse(incoming);
    if (status !== undefined) {
      incoming.resume();
      response.writeHead(status).end();
      return;
    }
    const { method, url, headers } = incoming;
    const outgoing = request({ host, port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    outgoing.on("error", () => response.destroy());
    incoming.pipe(outgoing);
  });
  return `127.0.0.1:${await listen(server)}`;
}

async function ask(authority: string, path: string): Promise<{ digest: string | null; text: string }> {
  const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
  const response = await fetch(`http://${authority}${path}`, { headers: { accept } });
  return { digest: response.headers.get("docker-content-digest"), text: await response.text() };
}

/** Everything that a registry lists: each repository's tags, and what each stands for. */
export async function registryContent(authority: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  const { repositories } = JSON.parse((await ask(authority, "/v2/_catalog?n=1000")).text);
  for (const repository of repositories) {
    const { tags } = JSON.parse((await ask(authority, `/v2/${repository}/tags/list`)).text);
    for (const tag of tags ?? []) {
      const { digest, text } = await ask(authority, `/v2/${repository}/manifests/${tag}`);
      content[`${repository}:${tag}`] = `${digest} ${text}`;
    }
  }
  return content;
}
