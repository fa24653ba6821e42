// mosctl update: from a reference to a running generation. The steps are those of progress.ts; until `commit`
// nothing on the device has changed but the store, which is content-addressed and may hold more than it needs.
import { statfs } from "node:fs/promises";
import { type ErrorDocument, MosError } from "../errors/mos-error.ts";
import { lockPath, storePath } from "../generation/places.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { type Descriptor, mediaTypes } from "../oci/model.ts";
import { openRepositories } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import type { Repository } from "../oci/source.ts";
import { withLock } from "../system/lock.ts";
import { formatBytes } from "../system/quantity.ts";
import type { Applied } from "./apply-units.ts";
import { type Candidate, judge } from "./candidate.ts";
import { commit } from "./commit.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedDocument, dropDamagedLayers } from "./damage.ts";
import { fetchImageDocuments } from "./image-documents.ts";
import { type LoadedGeneration, loadCurrent } from "./load.ts";
import type { Progress } from "./progress.ts";
import { fetchCandidates } from "./signed-manifest.ts";
import { stage } from "./stage.ts";
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
    const layers = await fetchDocuments(store, source.images, accepted.manifest);
    const damaged = await dropDamagedLayers(store, layers, running, context.places);
    const missing = await missingLayers(store, layers);
    await checkSpace(context, missing);

    progress({ kind: "step", step: "fetch images" });
    const fetchedBytes = await fetchLayers(store, source.images, missing, progress);

    progress({ kind: "step", step: "stage" });
    const staged = await stage(context, store, accepted.manifest, damaged);

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

/**
 * Fetches the image manifest and configuration of every target; small, and verified by their digests.
 * @returns the layers that they name
 */
async function fetchDocuments(
  store: Layout,
  images: Repository,
  manifest: InstallManifest,
): Promise<readonly Descriptor[]> {
  const layers = new Map<string, Descriptor>();
  for (const target of manifest.targets) {
    const { fetched, image } = await fetchImageDocuments(images, target);
    for (const layer of image.layers) layers.set(layer.digest, layer);
    const descriptor = { mediaType: mediaTypes.manifest, digest: target.digest, size: target.size };
    for (const document of [image.config, descriptor]) await dropDamagedDocument(store, document);
    await store.storeBlob(image.config, images);
    await store.putManifest(fetched.bytes, mediaTypes.manifest);
  }
  return [...layers.values()];
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
