// A published manifest of several services, each with a layer of its own, for tests of how a device fetches it.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentContext } from "../../src/agent/context.ts";
import type { ProgressEvent } from "../../src/agent/progress.ts";
import { update } from "../../src/agent/update.ts";
import { asMosError, type MosError } from "../../src/errors/mos-error.ts";
import { encodeInstallManifest } from "../../src/manifest/install-json.ts";
import { type Digest, hexOf } from "../../src/oci/digest.ts";
import { Layout } from "../../src/oci/layout.ts";
import { type Descriptor, mediaTypes } from "../../src/oci/model.ts";
import { sampleManifest, sampleTarget } from "../samples.ts";
import { goodParts, type Image, packImage, type Signers, writeParts } from "./refusals-fixture.ts";

export interface PublishedSet {
  /** The OCI layout that it is in, under the tag `1.0.0`. */
  readonly directory: string;
  readonly images: readonly Image[];
}

/** Publishes one service for each of the sizes, in kilobytes of what cannot be compressed. */
export async function publishSet(
  work: string,
  signers: Signers,
  kilobytes: readonly number[],
): Promise<PublishedSet> {
  const images: Image[] = [];
  for (const [i, size] of kilobytes.entries()) images.push(await packImage(work, size, `set ${i}`));
  const targets = images.map(({ manifest: { descriptor } }, i) =>
    sampleTarget({ service_name: `web${i}`, digest: descriptor.digest, size: descriptor.size }),
  );
  const [first] = images;
  if (first === undefined) throw new Error("a set has at least one image");
  const directory = join(work, "set");
  await mkdir(directory, { recursive: true });
  await writeParts(directory, goodParts(signers, first, encodeInstallManifest(sampleManifest({ targets }))));
  const layout = await Layout.open(directory);
  for (const { config, layer, manifest } of images.slice(1)) {
    await putBytes(layout, config.descriptor, config.bytes);
    await putBytes(layout, layer.descriptor, layer.bytes);
    await layout.putManifest(manifest.bytes, mediaTypes.manifest);
  }
  return { directory, images };
}

async function putBytes(layout: Layout, descriptor: Descriptor, bytes: Uint8Array): Promise<void> {
  await layout.putBlob(descriptor, async function* () {
    yield bytes;
  });
}

/** Writes the fetch.json of a device. */
export async function setFetch(device: AgentContext, settings: object): Promise<void> {
  const [path = ""] = device.fetchSettings;
  await writeFile(path, JSON.stringify({ version: 1, ...settings }));
}

/** Waits that are over soon. */
export const impatient = {
  patience: { connect: 5, answer: 1.5, idle: 1.5, bytesPerSecond: 2000, window: 2 },
};

/** Updates, and returns how that ended. */
export async function updateTo(
  device: AgentContext,
  reference: string,
  onProgress: (event: ProgressEvent) => void = () => undefined,
): Promise<
  Pick<MosError, "message" | "about" | "hint" | "problems" | "toDocument"> & { readonly code: string }
> {
  try {
    const { outcome } = await update(device, reference, { allowOlder: false, retry: false }, onProgress);
    const toDocument = () => {
      throw new Error("the update went through");
    };
    return { code: outcome, message: "", about: undefined, hint: "", problems: [], toDocument };
  } catch (error) {
    return asMosError(error);
  }
}

/** Where a device keeps what has come of a blob so far. */
export function partialOf({ places }: AgentContext, digest: Digest): string {
  return join(places.state, "oci", `.partial-${hexOf(digest)}`);
}

/** Where a device keeps a blob. */
export function blobOf({ places }: AgentContext, digest: Digest): string {
  return join(places.state, "oci/blobs/sha256", hexOf(digest));
}
