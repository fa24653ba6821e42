// mosctl update: from a reference to a running generation. The steps are those of progress.ts; until `commit`
// nothing on the device has changed but the store, which is content-addressed and may hold more than it needs.
import { MosError } from "../errors/mos-error.ts";
import { lockPath, storePath } from "../generation/places.ts";
import { digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { openRepositories } from "../oci/open.ts";
import { parseReference } from "../oci/reference.ts";
import { withLock } from "../system/lock.ts";
import type { Applied } from "./apply-units.ts";
import { type Candidate, judge } from "./candidate.ts";
import { commit } from "./commit.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedLayers } from "./damage.ts";
import { checkSpace, fetchDocuments, fetchLayers, missingLayers } from "./fetch.ts";
import { loadRunning } from "./load.ts";
import type { Progress } from "./progress.ts";
import { fetchCandidates } from "./signed-manifest.ts";
import { stage } from "./stage.ts";
import { type UnwellService, unwellServices } from "./status.ts";
import { loadTrust, remember } from "./trust.ts";

export interface UpdateResult {
  /** `unchanged`: the manifest is the one that runs already, and all of it is in place. */
  readonly outcome: "updated" | "unchanged" | "repaired";
  readonly generation: number;
  readonly manifestDigest: string;
  readonly fetchedBytes: number;
  readonly restarted: readonly string[];
  /** Services that are not well now that everything was started, and why. */
  readonly unwell: readonly UnwellService[];
}

export interface UpdateOptions {
  /** Going back to an older release of the same epoch is wanted. */
  readonly allowOlder: boolean;
}

/** @throws MosError of any step; before `commit` the device runs on as it was */
export async function update(
  context: AgentContext,
  reference: string,
  options: UpdateOptions,
  progress: Progress,
): Promise<UpdateResult> {
  const source = openRepositories(parseReference(reference));
  return await withLock(lockPath(context.places), `update to ${reference}`, async () => {
    const running = await loadRunning(context);

    progress({ kind: "step", step: "fetch manifest" });
    const candidates = await fetchCandidates(source.install, source.reference);

    progress({ kind: "step", step: "verify" });
    const trust = running?.trust ?? (await loadTrust(context));
    const accepted = await judge(context, trust, { candidates, running, ...options });
    refusePartial(accepted);

    progress({ kind: "step", step: "preflight" });
    const store = await Layout.create(storePath(context.places));
    const layers = await fetchDocuments(store, source.images, accepted.manifest);
    const damaged = await dropDamagedLayers(
      store,
      layers.map(({ layer }) => layer),
      running,
      context.places,
    );
    const missing = await missingLayers(store, layers);
    await checkSpace(context, missing);

    progress({ kind: "step", step: "fetch images" });
    const fetchedBytes = await fetchLayers(store, source.images, missing, running?.manifest, progress);

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

function outcomeOf(isSame: boolean, applied: Applied, fetchedBytes: number): UpdateResult["outcome"] {
  if (!isSame) return "updated";
  return applied.changed || fetchedBytes > 0 ? "repaired" : "unchanged";
}

function refusePartial({ manifest }: Candidate): void {
  if (manifest.update_type === "partial") {
    throw new MosError(
      "update-type-unsupported",
      "the manifest is a partial one, which this version cannot merge",
    );
  }
}
