// Staging: everything that can go wrong with a generation short of running it. Images are opened, ids allocated,
// secrets opened, units rendered; what is live has not changed when it is over.
import { ensureIdMaps } from "../generation/idmaps.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import { mediaTypes } from "../oci/model.ts";
import { trialTags } from "../services/credentials.ts";
import { lowestId, rangeLength } from "../services/idmap.ts";
import { groupsOf, renderUnits, wantedUnits } from "../services/render.ts";
import { type Applied, applyUnits, podmanUnits } from "./apply-units.ts";
import type { AgentContext } from "./context.ts";
import { loadImages } from "./load.ts";
import { openSecrets, placeSecrets, sweepSecrets } from "./secrets.ts";

/** A generation that is ready to run. */
export interface Staged {
  /** Makes it run, under the number that it has. */
  readonly activate: (generation: number, mode: "trial" | "wait") => Promise<Applied>;
}

/**
 * @param damaged root hashes of layers that were replaced in the store
 * @throws MosError of whatever of the manifest cannot run
 */
export async function stage(
  context: AgentContext,
  store: Layout,
  manifest: InstallManifest,
  damaged: ReadonlySet<string>,
): Promise<Staged> {
  const { images, problems } = await loadImages(context, manifest);
  const [problem] = problems;
  if (problem !== undefined) throw problem.error;
  const groups = groupsOf(manifest);
  // Ranges are kept for ever, so none is allocated for what cannot run. Which ids they are does not matter to that.
  const trial = new Map(groups.map((group, i) => [group, lowestId + i * rangeLength]));
  const { places } = context;
  const device = { places, podmanUnits: podmanUnits(context) };
  renderUnits({ generation: 0, manifest, images, idmaps: trial, credentials: trialTags(images), ...device });
  using secrets = await openSecrets(context, manifest, images);
  const idmaps = await ensureIdMaps(places, groups);
  // Beside those that are in use, which what runs keeps until it is stopped.
  const credentials = await placeSecrets(context, { manifest, images, idmaps }, secrets);
  const input = { manifest, images, idmaps, credentials, ...device };
  await store.setReferences(
    manifest.targets.map(({ digest, size }) => ({
      ...{ descriptor: { mediaType: mediaTypes.manifest, digest, size }, name: digest },
    })),
  );
  // What runs from a layer that was replaced holds the old one open, so it has to go down with its layer.
  const disturbed = images
    .filter(({ layers }) => layers.some(({ rootHash }) => damaged.has(rootHash)))
    .map(({ target }) => target.service_name);
  return {
    activate: async (generation, mode) => {
      const units = renderUnits({ ...input, generation });
      const applied = await applyUnits(context, { units, wanted: wantedUnits(input), disturbed }, mode);
      await sweepSecrets(context, credentials);
      return applied;
    },
  };
}
