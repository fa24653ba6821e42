// The system of an image as the two targets of a manifest with which devices update to it: its root as layers of the
// store (hostfs), and a kernel image whose signed command line names these layers (bootkit). Both go into one OCI layout,
// under the tags `hostfs` and `bootkit`.
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { copyFile, mkdir, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { type StoredLayer, storedRootCommandLine } from "../boot/command-line.ts";
import { inspectLayer } from "../layers/inspect.ts";
import { packedMediaTypes, rootHashAnnotationsOf } from "../layers/media-type.ts";
import { type PackedLayer, packLayer } from "../layers/pack.ts";
import { type Digest, digestFromHex } from "../oci/digest.ts";
import { buildImage } from "../oci/image.ts";
import { type Descriptor, mediaTypes } from "../oci/model.ts";
import { openWritable } from "../oci/open.ts";
import type { WritableRepository } from "../oci/source.ts";

/** Where in a bootkit the kernel image is (published format). */
const kernelPath = "bootkit/kernel.efi";

interface RootInput {
  /** Files of the root and of its hash tree, whole blocks of 4096 bytes each. */
  readonly root: string;
  readonly verity: string;
  readonly rootHash: string;
  readonly work: string;
}

const nothing = { entrypoint: [], cmd: [], env: [], user: "", working_dir: "" };

/** A root and its hash tree as one layer: the tree follows the file system. */
export async function rootLayer({ root, verity, rootHash, work }: RootInput): Promise<PackedLayer> {
  const path = join(work, "hostfs.layer");
  await copyFile(root, path);
  const { size: hashOffset } = await stat(path);
  await truncate(path, hashOffset);
  await pipeline(createReadStream(verity), createWriteStream(path, { flags: "r+", start: hashOffset }));
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(piece);
  const descriptor: Descriptor = {
    mediaType: packedMediaTypes.erofs,
    digest: digestFromHex(hash.digest("hex")),
    size: (await stat(path)).size,
    annotations: rootHashAnnotationsOf(rootHash),
  };
  return { path, descriptor, rootHash };
}

async function putImage(
  to: WritableRepository,
  tag: string,
  layers: readonly PackedLayer[],
): Promise<Digest> {
  const { config, manifest } = buildImage(
    layers.map(({ descriptor }) => descriptor),
    nothing,
  );
  for (const { descriptor, path } of layers)
    await to.putBlob(descriptor, () => createReadStream(path, { highWaterMark: 1024 * 1024 }));
  await to.putBlob(config.descriptor, async function* () {
    yield config.bytes;
  });
  await to.putManifest(manifest.bytes, mediaTypes.manifest, tag);
  return manifest.descriptor.digest;
}

export interface BootTargets {
  /** Digests of the two images. */
  readonly hostfs: Digest;
  readonly bootkit: Digest;
  /** Of the kernel image. */
  readonly commandLine: string;
}

/** What a command line has to say of a layer, as a device will look at it. */
async function storedLayer({ path, descriptor, rootHash }: PackedLayer): Promise<StoredLayer> {
  const { hashOffset, kind } = await inspectLayer(path, descriptor);
  return { digest: descriptor.digest, rootHash, hashOffset, kind };
}

/**
 * Makes the layout.
 * @param layers of the root, the lowest first
 * @param buildKernel makes a kernel image with this command line before its own words, and says where it is
 * @throws MosError of its steps
 */
export async function makeBootTargets(
  layers: readonly PackedLayer[],
  { directory, work }: { readonly directory: string; readonly work: string },
  buildKernel: (rootWords: string) => Promise<{ readonly path: string; readonly commandLine: string }>,
): Promise<BootTargets> {
  const kernel = await buildKernel(storedRootCommandLine(await Promise.all(layers.map(storedLayer))));
  const tree = join(work, "bootkit");
  await mkdir(join(tree, "bootkit"), { recursive: true });
  await copyFile(kernel.path, join(tree, kernelPath));
  const bootkit = await packLayer({
    source: { kind: "directory", path: tree },
    format: "erofs",
    workDirectory: work,
  });
  const to = openWritable({ kind: "oci", directory, reference: "hostfs" }).images;
  return {
    hostfs: await putImage(to, "hostfs", layers),
    bootkit: await putImage(to, "bootkit", [bootkit]),
    commandLine: kernel.commandLine,
  };
}
