// mosctl update --dry-run: what an update would do, found out without changing anything on the device.
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { systemCode } from "../errors/mos-error.ts";
import { compareManifests, type ManifestComparison } from "../generation/manifest-diff.ts";
import { storePath } from "../generation/places.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import type { Descriptor } from "../oci/model.ts";
import { isBootTarget } from "../services/render.ts";
import type { AgentContext } from "./context.ts";
import { openSource } from "./fetch-source.ts";
import { fetchImageDocuments } from "./image-documents.ts";
import { prepare, type UpdateOptions } from "./update.ts";

export interface UpdatePlan {
  readonly manifestDigest: Digest;
  /** The manifest is the one that runs. */
  readonly isCurrent: boolean;
  readonly updateType: "complete" | "partial";
  readonly comparison: ManifestComparison;
  /** Layers that the device does not have; what fetches them may need fewer bytes. */
  readonly fetch: { readonly layers: number; readonly bytes: number };
  /** What the device boots from changes. */
  readonly needsReboot: boolean;
}

async function openStore(path: string): Promise<Layout | undefined> {
  try {
    const found: Stats = await stat(path);
    return found.isDirectory() ? await Layout.open(path) : undefined;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** @throws MosError of every check that an update makes before it fetches layers */
export async function planUpdate(
  context: AgentContext,
  reference: string,
  options: UpdateOptions,
): Promise<UpdatePlan> {
  const source = await openSource(context, reference);
  const { running, accepted, composition, isSame } = await prepare(context, source, options, () => undefined);
  const { merged } = composition;
  const store = await openStore(storePath(context.places));
  const has = async (document: Descriptor): Promise<boolean> =>
    store !== undefined && (await store.hasBlob(document));
  const missing = new Map<Digest, Descriptor>();
  for (const target of merged.targets) {
    const from = async (document: Descriptor) =>
      store !== undefined && (await has(document)) ? store : source.images;
    const { image } = await fetchImageDocuments(from, target);
    for (const layer of image.layers) if (!(await has(layer))) missing.set(layer.digest, layer);
  }
  const comparison = compareManifests(running?.manifest, merged);
  const moved = new Set([...comparison.added, ...comparison.changed.map(({ service }) => service)]);
  return {
    manifestDigest: digestOf(accepted.parts.manifest),
    isCurrent: isSame,
    updateType: accepted.manifest.update_type,
    comparison,
    fetch: {
      layers: missing.size,
      bytes: [...missing.values()].reduce((sum, { size }) => sum + size, 0),
    },
    needsReboot: merged.targets.some((target) => isBootTarget(target) && moved.has(target.service_name)),
  };
}
