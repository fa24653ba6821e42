// mosctl update: from a reference to a running generation. The steps are those of progress.ts; until `commit`
// nothing on the device has changed but the store, which is content-addressed and may hold more than it needs.
import { rm, statfs } from "node:fs/promises";
import { type ErrorDocument, MosError } from "../errors/mos-error.ts";
import { addGeneration, makeCurrent, pointedGeneration } from "../generation/generations.ts";
import { ensureIdMaps } from "../generation/idmaps.ts";
import { generationPath, lockPath, pointerPath, storePath } from "../generation/places.ts";
import { writeTrustRecord } from "../generation/trust-records.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { type Descriptor, mediaTypes } from "../oci/model.ts";
import { openRepositories } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import type { Repository } from "../oci/source.ts";
import { trialTags } from "../services/credentials.ts";
import { lowestId, rangeLength } from "../services/idmap.ts";
import { groupsOf, renderUnits, wantedUnits } from "../services/render.ts";
import type { Places } from "../services/unit-names.ts";
import { withLock } from "../system/lock.ts";
import { formatBytes } from "../system/quantity.ts";
import { type Applied, applyUnits } from "./apply-units.ts";
import { type Candidate, judge } from "./candidate.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedDocument, dropDamagedLayers } from "./damage.ts";
import { fetchImageDocuments } from "./image-documents.ts";
import { type LoadedGeneration, loadCurrent, loadImages } from "./load.ts";
import type { Progress } from "./progress.ts";
import { openSecrets, placeSecrets, sweepSecrets } from "./secrets.ts";
import { fetchCandidates } from "./signed-manifest.ts";
import { status } from "./status.ts";
import { loadTrust, remember } from "./trust.ts";

export interface UpdateResult {
  /** `unchanged`: the manifest is the one that runs already, and all of it is in place. */
  readonly outcome: "updated" | "unchanged" | "repaired";
  readonly generation: number;
  readonly manifestDigest: string;
  readonly fetchedBytes: number;
  readonly restarted: readonly string[];
  /** Services that are not well now that everything was started, and why. */
  readonly unwell: readonly { readonly service: string; readonly error: ErrorDocument }[];
}

export interface UpdateOptions {
  /** Going back to an older release of the same epoch is wanted. */
  readonly allowOlder: boolean;
}

/** Bytes left free on the state filesystem, so that the system itself can go on working. */
const reserveBytes = 16 * 1024 * 1024;

/** @throws MosError of any step; before `commit` the device runs on as it was */
export async function update(
  context: AgentContext,
  reference: string,
  options: UpdateOptions,
  progress: Progress,
): Promise<UpdateResult> {
  const source = openRepositories(parseReference(reference));
  return await withLock(lockPath(context.places), `update to ${reference}`, async () => {
    const running = await runningGeneration(context);

    progress({ kind: "step", step: "fetch manifest" });
    const candidates = await fetchCandidates(source.install, source.reference);

    progress({ kind: "step", step: "verify" });
    const trust = running?.trust ?? (await loadTrust(context));
    const accepted = await judge(context, trust, { candidates, running, ...options });
    refusePartial(accepted);

    progress({ kind: "step", step: "preflight" });
    const store = await Layout.create(storePath(context.places));
    const documents = await fetchDocuments(store, source.images, accepted.manifest);
    const damaged = await dropDamagedLayers(store, documents.layers, running, context.places);
    const missing = await missingLayers(store, documents.layers);
    await checkSpace(context, missing);

    progress({ kind: "step", step: "fetch images" });
    const fetchedBytes = await fetchLayers(store, source.images, missing, progress);

    progress({ kind: "step", step: "stage" });
    const staged = await stage(context, store, accepted.manifest, documents, damaged);

    progress({ kind: "step", step: "commit" });
    const isSame = running !== undefined && running.digest === digestOf(accepted.parts.manifest);
    const number = isSame ? running.number : await commit(context, accepted, reference);
    const { current, record, manifest } = accepted;
    const records = record === undefined ? current.records : [...current.records, record];
    await remember(trust, records, manifest.release?.epoch ?? 0);

    progress({ kind: "step", step: "activate" });
    const applied = await staged.activate(number);
    return {
      outcome: outcomeOf(isSame, applied, fetchedBytes),
      generation: number,
      manifestDigest: digestOf(accepted.parts.manifest),
      fetchedBytes,
      restarted: applied.restarted,
      unwell: await unwellServices(context),
    };
  });
}

async function unwellServices(context: AgentContext): Promise<UpdateResult["unwell"]> {
  const { services } = await status(context);
  return services.flatMap(({ name, error }) => (error === undefined ? [] : [{ service: name, error }]));
}

function outcomeOf(isSame: boolean, applied: Applied, fetchedBytes: number): UpdateResult["outcome"] {
  if (!isSame) return "updated";
  return applied.changed || fetchedBytes > 0 ? "repaired" : "unchanged";
}

/** What runs now, or undefined when nothing does or it can no longer be verified: an update mends that. */
async function runningGeneration(context: AgentContext): Promise<LoadedGeneration | undefined> {
  try {
    return await loadCurrent(context);
  } catch (error) {
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

function refusePartial({ manifest }: Candidate): void {
  if (manifest.update_type === "partial") {
    throw new MosError(
      "update-type-unsupported",
      "the manifest is a partial one, which this version cannot merge",
    );
  }
}

interface Documents {
  /** The image manifests, in the order of the targets. */
  readonly images: readonly Descriptor[];
  readonly layers: readonly Descriptor[];
}

/** Fetches the image manifest and configuration of every target; small, and verified by their digests. */
async function fetchDocuments(
  store: Layout,
  images: Repository,
  manifest: InstallManifest,
): Promise<Documents> {
  const descriptors: Descriptor[] = [];
  const layers = new Map<string, Descriptor>();
  for (const target of manifest.targets) {
    const { fetched, image } = await fetchImageDocuments(images, target);
    for (const layer of image.layers) layers.set(layer.digest, layer);
    const descriptor = { mediaType: mediaTypes.manifest, digest: target.digest, size: target.size };
    for (const document of [image.config, descriptor]) await dropDamagedDocument(store, document);
    await store.storeBlob(image.config, images);
    await store.putManifest(fetched.bytes, mediaTypes.manifest);
    descriptors.push(descriptor);
  }
  return { images: descriptors, layers: [...layers.values()] };
}

async function missingLayers(store: Layout, layers: readonly Descriptor[]): Promise<Descriptor[]> {
  const missing: Descriptor[] = [];
  for (const layer of layers) if (!(await store.hasBlob(layer))) missing.push(layer);
  return missing;
}

async function checkSpace({ places }: AgentContext, missing: readonly Descriptor[]): Promise<void> {
  const needed = missing.reduce((sum, { size }) => sum + size, 0);
  if (needed === 0) return;
  const { bavail, bsize } = await statfs(places.state);
  const free = bavail * bsize;
  if (needed + reserveBytes <= free) return;
  throw new MosError(
    "no-space",
    `the images need ${formatBytes(needed)} more and ${formatBytes(reserveBytes)} must stay free, but ${places.state} has ${formatBytes(free)}`,
    {
      about: places.state,
      hint: `Free ${formatBytes(needed + reserveBytes - free)} on the filesystem of ${places.state}. Nothing was fetched.`,
    },
  );
}

async function fetchLayers(
  store: Layout,
  images: Repository,
  missing: readonly Descriptor[],
  progress: Progress,
): Promise<number> {
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const layer of missing) {
    const base = before;
    await store.storeBlob(layer, images, (done) => progress({ kind: "bytes", done: base + done, total }));
    before += layer.size;
  }
  return total;
}

/** Everything that can go wrong with the new generation short of running it: opened, allocated, rendered. */
async function stage(
  context: AgentContext,
  store: Layout,
  manifest: InstallManifest,
  documents: Documents,
  damaged: ReadonlySet<string>,
) {
  const { images, problems } = await loadImages(context, manifest);
  const [problem] = problems;
  if (problem !== undefined) throw problem.error;
  const groups = groupsOf(manifest);
  // Ranges are kept for ever, so none is allocated for what cannot run. Which ids they are does not matter to that.
  const trial = new Map(groups.map((group, i) => [group, lowestId + i * rangeLength]));
  const { places } = context;
  renderUnits({ generation: 0, manifest, images, idmaps: trial, credentials: trialTags(images), places });
  using secrets = await openSecrets(context, manifest, images);
  const idmaps = await ensureIdMaps(places, groups);
  // Beside those that are in use, which what runs keeps until it is stopped.
  const credentials = await placeSecrets(context, { manifest, images, idmaps }, secrets);
  const input = { manifest, images, idmaps, credentials, places };
  await store.setReferences(documents.images.map((descriptor) => ({ descriptor, name: descriptor.digest })));
  // What runs from a layer that was replaced holds the old one open, so it has to go down with its layer.
  const disturbed = images
    .filter(({ layers }) => layers.some(({ rootHash }) => damaged.has(rootHash)))
    .map(({ target }) => target.service_name);
  return {
    activate: async (generation: number) => {
      const units = renderUnits({ ...input, generation });
      const applied = await applyUnits(context, { units, wanted: wantedUnits(input), disturbed }, "wait");
      await sweepSecrets(context, credentials);
      return applied;
    },
  };
}

/**
 * Makes the manifest the one that runs. A change of trust takes effect in the same instant, because the generation
 * says how many records are its own.
 */
async function commit(
  context: AgentContext,
  { parts, current, record }: Candidate,
  reference: string,
): Promise<number> {
  const { places } = context;
  const trustRecords = current.records.length + (record === undefined ? 0 : 1);
  if (record !== undefined) await writeTrustRecord(places, trustRecords, record);
  const number = await addGeneration(places, parts, {
    version: 1,
    reference,
    acceptedAt: new Date().toISOString(),
    trustRecords,
  });
  try {
    if (await isBent(places)) await rm(pointerPath(places, "current"));
    await makeCurrent(places, number);
  } catch (error) {
    // Nothing but a whole update leaves a generation behind.
    const current = await pointedGeneration(places, "current").catch(() => undefined);
    if (current !== number) await rm(generationPath(places, number), { recursive: true, force: true });
    throw error;
  }
  return number;
}

/** Whether `current` points to no generation; then nothing runs from it, and the new one takes its place. */
async function isBent(places: Places): Promise<boolean> {
  try {
    await pointedGeneration(places, "current");
    return false;
  } catch (error) {
    if (error instanceof MosError) return true;
    throw error;
  }
}
