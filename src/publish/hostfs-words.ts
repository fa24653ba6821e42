// What a kernel image has to be told so that it starts from a root (hostfs) that is published with it: the image of the
// root is prepared as publishing does it, and every layer looked at as a device will.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type StoredLayer, storedRootCommandLine } from "../boot/command-line.ts";
import { MosError } from "../errors/mos-error.ts";
import { inspectLayer } from "../layers/inspect.ts";
import { rootHashOf } from "../layers/media-type.ts";
import type { LayerFormat } from "../layers/pack.ts";
import { parseManifestYaml } from "../manifest/manifest-yaml.ts";
import { parseManifest } from "../oci/model.ts";
import { prepareImage } from "./images.ts";
import { saveLayer } from "./layer-file.ts";

/** A manifest that brings this root and nothing else. */
function manifestOf(source: string): string {
  const target = { service_name: "hostfs", service_type: "hostfs", version: "1", source };
  return JSON.stringify({ version: 1, product: "any", targets: [target] });
}

/**
 * The words for the command line.
 * @param source as a target of a manifest has it; relative paths are relative to `baseDirectory`
 * @param format of layers that publishing makes
 * @throws MosError `layer-unsupported` for more layers than a command line holds, `source-invalid`,
 * `program-unresolved`, and what fetching, converting and packing throw
 */
export async function hostfsWords(
  source: string,
  format: LayerFormat,
  baseDirectory: string,
): Promise<string> {
  const { targets } = parseManifestYaml(manifestOf(source), source);
  const workDirectory = await mkdtemp(join(tmpdir(), "mos-hostfs-"));
  try {
    const layers: StoredLayer[] = [];
    for (const target of targets) {
      const shared = { converted: new Map(), viewed: new Map(), unchecked: new Set<string>() };
      const image = await prepareImage(target, { format, workDirectory, baseDirectory, ...shared });
      const { layers: descriptors } = parseManifest(image.manifest, "image of hostfs");
      for (const [i, descriptor] of descriptors.entries()) {
        const blob = image.blobs.find((one) => one.descriptor.digest === descriptor.digest);
        if (blob === undefined) throw new MosError("internal", `the image has no ${descriptor.digest}`);
        const { path } = await saveLayer(blob, join(workDirectory, `hostfs-${i}`));
        const { hashOffset, kind } = await inspectLayer(path, descriptor);
        await rm(path);
        layers.push({ digest: descriptor.digest, rootHash: rootHashOf(descriptor), hashOffset, kind });
      }
    }
    return storedRootCommandLine(layers);
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}
