// mosctl update: from a reference to a running generation. The steps are those of progress.ts. Until the trial nothing on
// the device has changed but the store, which is content-addressed and may hold more than it needs; after it the device
// runs the new generation, or the one before (trial.ts).
import { MosError } from "../errors/mos-error.ts";
import { failureOf } from "../generation/failures.ts";
import { readGeneration } from "../generation/generations.ts";
import { readJournal } from "../generation/journal.ts";
import { compareManifests } from "../generation/manifest-diff.ts";
import { lockPath, storePath } from "../generation/places.ts";
import { rolloutShare } from "../generation/rollout.ts";
import type { SystemChange } from "../generation/transaction.ts";
import { defaultGate } from "../manifest/health-schema.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { isBootTarget } from "../services/render.ts";
import { fault } from "../system/fault.ts";
import { withLock } from "../system/lock.ts";
import { loadRunning } from "./active.ts";
import { awaitReboot } from "./await-reboot.ts";
import { type Candidate, judge } from "./candidate.ts";
import { add } from "./commit.ts";
import { type Composition, compose } from "./compose.ts";
import type { AgentContext } from "./context.ts";
import { dropDamagedLayers } from "./damage.ts";
import { checkSpace, fetchDocuments, fetchLayers, missingLayers } from "./fetch.ts";
import { type FetchSource, openSource } from "./fetch-source.ts";
import type { LoadedGeneration } from "./load.ts";
import type { Progress } from "./progress.ts";
import { fetchCandidates, type KnownManifest } from "./signed-manifest.ts";
import { stage } from "./stage.ts";
import { startedSystem } from "./started.ts";
import { type UnwellService, unwellServices } from "./status.ts";
import { runTrial, settle } from "./trial.ts";
import { type DeviceTrust, loadTrust } from "./trust.ts";

export interface UpdateResult {
  /**
   * `unchanged`: the manifest is the one that runs already, and all of it is in place; `awaits-reboot`: it is stored and
   * verified, and runs once the device was started anew, because its kernel and root do.
   */
  readonly outcome: "updated" | "unchanged" | "repaired" | "awaits-reboot";
  readonly generation: number;
  readonly manifestDigest: string;
  readonly fetchedBytes: number;
  readonly restarted: readonly string[];
  /** Services that are not well now that everything was started, and why. */
  readonly unwell: readonly UnwellService[];
  /** Percent of all devices that the release had reached by its rollout, which was not asked. */
  readonly rolloutIgnored?: number;
}

export interface UpdateOptions {
  /** Going back to an older release of the same epoch is wanted. */
  readonly allowOlder: boolean;
  /** A manifest that failed here may be tried once more. */
  readonly retry: boolean;
}

/** What goes along with an update; all of it is optional. */
export interface UpdateControl {
  /** Breaks it off, up to the point at which the new generation is brought up. What was fetched stays. */
  readonly signal?: AbortSignal;
  /** Asked once the manifest is verified and not the one that runs; throws where it is not to be applied now. */
  readonly admit?: (manifest: InstallManifest) => Promise<void>;
  /** Asked once everything is fetched and staged; resolves when services may be disturbed. */
  readonly beforeActivation?: (progress: Progress) => Promise<void>;
}

/** What an update begins with. */
interface Prepared {
  readonly running: LoadedGeneration | undefined;
  readonly trust: DeviceTrust;
  readonly accepted: Candidate;
  readonly composition: Composition;
  /** The manifest is the one that runs. */
  readonly isSame: boolean;
}

function knownOf(running: LoadedGeneration | undefined): KnownManifest | undefined {
  const artifact = running?.record.artifact;
  if (running === undefined || artifact === undefined) return undefined;
  const { manifest, signatures } = running.generation;
  return { artifact, manifest, signatures };
}

/** @throws MosError of every check that needs the manifest alone */
export async function prepare(
  context: AgentContext,
  source: FetchSource,
  options: UpdateOptions,
  progress: Progress,
): Promise<Prepared> {
  const running = await loadRunning(context);
  progress({ kind: "step", step: "fetch manifest" });
  await fault("update.fetch-manifest");
  const candidates = await fetchCandidates(source.install, source.reference, knownOf(running));
  progress({ kind: "step", step: "verify" });
  await fault("update.verify");
  const trust = running?.trust ?? (await loadTrust(context));
  const { allowOlder } = options;
  const accepted = await judge(context, trust, { candidates, running, allowOlder });
  const composition = compose(accepted, running);
  const digest = digestOf(accepted.parts.manifest);
  const isSame = running !== undefined && running.digest === digest;
  if (!isSame && !options.retry) await refuseFailed(context, digest);
  return { running, trust, accepted, composition, isSame };
}

/** @throws MosError `generation-failed-before` */
async function refuseFailed({ places }: AgentContext, digest: Digest): Promise<void> {
  const failure = await failureOf(places, digest);
  if (failure === undefined) return;
  throw new MosError(
    "generation-failed-before",
    `this manifest was tried on this device at ${failure.at}, and given up: ${failure.message}`,
    { about: digest },
  );
}

/**
 * Moves the device to a manifest.
 * @throws MosError of any step; `generation-unhealthy` when it was tried and the device went back. In every case the
 * device runs on as it was
 */
export async function update(
  context: AgentContext,
  reference: string,
  options: UpdateOptions,
  progress: Progress,
  { signal, admit, beforeActivation }: UpdateControl = {},
): Promise<UpdateResult> {
  const source = await openSource(context, reference);
  signal?.addEventListener("abort", () => source.stop(signal.reason), { once: true });
  return await withLock(lockPath(context.places), `update to ${reference}`, async () => {
    await settle(context, progress);
    const prepared = await prepare(context, source, options, progress);
    const { running, accepted, isSame, composition } = prepared;
    const { merged } = composition;
    if (!isSame) await admit?.(accepted.manifest);
    const waiting = await waitingFor(context, digestOf(accepted.parts.manifest));
    if (waiting !== undefined) return waiting;

    progress({ kind: "step", step: "preflight" });
    await fault("update.preflight");
    const store = await Layout.create(storePath(context.places));
    const layers = await fetchDocuments(store, source, merged);
    const damaged = await dropDamagedLayers(context, store, { manifest: merged, layers, running });
    const missing = await missingLayers(store, layers);
    await checkSpace(context, store, missing);

    progress({ kind: "step", step: "fetch images" });
    await fault("update.fetch-images");
    const fetchedBytes = await fetchLayers(
      context,
      { store, source, missing, running: running?.manifest },
      progress,
    );

    progress({ kind: "step", step: "stage" });
    await fault("update.stage");
    const staged = await stage(context, store, merged, damaged);
    const digest = digestOf(accepted.parts.manifest);
    const ignored = admit === undefined ? ignoredRollout(accepted.manifest) : {};
    const done = { manifestDigest: digest, fetchedBytes, ...ignored };
    if (isSame) {
      progress({ kind: "step", step: "activate" });
      const applied = await staged.activate(running?.number ?? 0, "wait");
      const unwell = await unwellServices(context);
      const outcome = applied.changed || missing.length > 0 ? "repaired" : "unchanged";
      return { outcome, generation: running?.number ?? 0, ...done, restarted: applied.restarted, unwell };
    }
    const system = await otherSystemOf(context, store, merged);
    const excused = await unwellAndUnchanged(context, running, merged);
    await beforeActivation?.(progress);
    signal?.throwIfAborted();
    const { withdrawWaiting } = await import("./system-boot.ts");
    await withdrawWaiting(context);
    await fault("update.add");
    const number = await add(context, accepted, composition.bases, reference);
    if (system !== undefined) {
      progress({ kind: "step", step: "activate" });
      const { tries } = merged.health ?? defaultGate;
      const from = running?.number ?? null;
      await awaitReboot(context, { kind: "update", from, to: number, tries, ...system });
      return { outcome: "awaits-reboot", generation: number, ...done, restarted: [], unwell: [] };
    }
    const applied = await runTrial(
      context,
      {
        kind: "update",
        from: running?.number ?? null,
        to: number,
        manifest: merged,
        tries: (merged.health ?? defaultGate).tries,
        excused,
        activate: () => staged.activate(number, "trial"),
      },
      progress,
    );
    await fault("update.end");
    const unwell = await unwellServices(context);
    return { outcome: "updated", generation: number, ...done, restarted: applied.restarted, unwell };
  });
}

/** What an update that was prepared before answers, while it waits for a start of the device. */
async function waitingFor(context: AgentContext, digest: Digest): Promise<UpdateResult | undefined> {
  const journal = await readJournal(context.places).catch(() => undefined);
  if (journal?.phase !== "reboot") return undefined;
  const waiting = await readGeneration(context.places, journal.to).catch((error: unknown) => {
    // Damaged since: this update takes its place.
    if (error instanceof MosError) return undefined;
    throw error;
  });
  if (waiting === undefined || digestOf(waiting.manifest) !== digest) return undefined;
  const none = { fetchedBytes: 0, restarted: [], unwell: [] };
  return { outcome: "awaits-reboot", generation: journal.to, manifestDigest: digest, ...none };
}

/**
 * The other system that a manifest needs, ready to be put where the device starts from; undefined when it needs none.
 * @throws MosError of every check of it, before anything is written
 */
export async function otherSystemOf(
  context: AgentContext,
  store: Layout,
  manifest: InstallManifest,
): Promise<{ readonly system: SystemChange; readonly install: () => Promise<void> } | undefined> {
  const started = await startedSystem(context);
  if (started === undefined || !manifest.targets.some(isBootTarget)) return undefined;
  const [{ otherSystem }, { checkSystem, installSystem }] = await Promise.all([
    import("./system-image.ts"),
    import("./system-change.ts"),
  ]);
  const image = await otherSystem(context, store, manifest, started);
  if (image === undefined) return undefined;
  return { system: await checkSystem(context, image), install: () => installSystem(context, image) };
}

function ignoredRollout({ release }: InstallManifest): Pick<UpdateResult, "rolloutIgnored"> {
  if (release?.rollout === undefined) return {};
  const share = rolloutShare(release.rollout, new Date());
  return share < 100 ? { rolloutIgnored: Math.floor(share) } : {};
}

/** What was unwell before and does not change says nothing about the new manifest. */
async function unwellAndUnchanged(
  context: AgentContext,
  running: LoadedGeneration | undefined,
  merged: InstallManifest,
): Promise<string[]> {
  if (running === undefined) return [];
  const unwell = new Set((await unwellServices(context)).map(({ service }) => service));
  return compareManifests(running.manifest, merged).kept.filter((service) => unwell.has(service));
}
