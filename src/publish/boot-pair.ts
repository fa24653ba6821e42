// Whether the kernel image (bootkit) and the root (hostfs) of a manifest belong together: found out from the layers as
// they are published, because a device that is given others refuses them.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { checkPair } from "../boot/pair.ts";
import { ukiFacts } from "../boot/uki-facts.ts";
import { systemCode } from "../errors/mos-error.ts";
import { checkLayerKind, rootHashOf } from "../layers/media-type.ts";
import type { ImportManifest } from "../manifest/schema.ts";
import { parseManifest } from "../oci/model.ts";
import { run } from "../system/process.ts";
import type { PreparedImage } from "./images.ts";
import { extractErofs, saveLayer } from "./layer-file.ts";

const timeoutMs = 600_000;

/** The kernel image of a bootkit; undefined when it has none, and is for something else than to be started. */
async function kernelOf(image: PreparedImage, workDirectory: string): Promise<Uint8Array | undefined> {
  const { layers } = parseManifest(image.manifest, "image of bootkit");
  const [layer] = layers;
  const blob = image.blobs.find(({ descriptor }) => descriptor.digest === layer?.digest);
  if (layer === undefined || blob === undefined || layers.length > 1) return undefined;
  const work = await mkdtemp(join(workDirectory, "bootkit-"));
  try {
    const file = await saveLayer(blob, join(work, "layer"));
    const tree = join(work, "tree");
    const env = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
    if (checkLayerKind(layer) === "erofs") await extractErofs(file, tree);
    else
      await run("rdsquashfs", ["--quiet", "--unpack-root", tree, "--unpack-path", "/", file.path], {
        timeoutMs,
        env,
      });
    return await readFile(join(tree, "bootkit/kernel.efi"));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Refuses a manifest with a kernel image that starts another root than it brings.
 * @param images of the manifest's targets, in their order
 * @param workDirectory for what is unpacked
 * @throws MosError `boot-pair-mismatch`, `efi-image-malformed`, `program-missing`
 */
export async function checkBootPair(
  { targets }: ImportManifest,
  images: readonly PreparedImage[],
  workDirectory: string,
): Promise<void> {
  const root = images[targets.findIndex(({ service_type }) => service_type === "hostfs")];
  const bootkit = images[targets.findIndex(({ service_name }) => service_name === "bootkit")];
  if (root === undefined || bootkit === undefined) return;
  const kernel = await kernelOf(bootkit, workDirectory);
  if (kernel === undefined) return;
  const { layers } = parseManifest(root.manifest, "image of hostfs");
  const { commandLine } = ukiFacts(kernel, "kernel image of bootkit");
  checkPair(
    commandLine,
    layers.map((layer) => ({ digest: layer.digest, rootHash: rootHashOf(layer) })),
  );
}
