// mosctl gc: what nobody needs any more goes. In an order in which a power cut leaves nothing that names what is gone:
// generations, then the list of images, then blobs. Each step can be repeated; what an interrupted one left is the next
// one's.
import { dirname } from "node:path";
import { asMosError, type ErrorDocument, systemCode } from "../errors/mos-error.ts";
import { type GarbagePlan, planGarbage, type Sized } from "../generation/garbage.ts";
import { readGeneration, removeGeneration } from "../generation/generations.ts";
import { releaseIdMaps } from "../generation/idmaps.ts";
import { lockPath, storePath } from "../generation/places.ts";
import { storedManifest } from "../generation/stored-manifest.ts";
import type { Digest } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import type { Reference } from "../oci/layout-index.ts";
import { mediaTypes } from "../oci/model.ts";
import { volumePath } from "../services/unit-names.ts";
import { discard, removeTree, syncDirectory } from "../system/atomic-file.ts";
import { removeDirectory } from "../system/durable.ts";
import { fault } from "../system/fault.ts";
import { withLock } from "../system/lock.ts";
import { mountUnitName } from "../systemd/escape.ts";
import type { AgentContext } from "./context.ts";
import { readStateOnDisk } from "./garbage-state.ts";
import { log } from "./log.ts";

export interface GcResult extends GarbagePlan {
  /** What is listed would go; nothing went. */
  readonly dryRun: boolean;
  /** Bytes that the disk got back, or would get. */
  readonly bytes: number;
  /** What should have gone and did not, and why. */
  readonly problems: readonly { readonly what: string; readonly error: ErrorDocument }[];
}

type Problems = GcResult["problems"][number][];

function sum(items: readonly Sized<unknown>[]): number {
  return items.reduce((total, { bytes }) => total + bytes, 0);
}

/** What is outside the disk (memory, podman) may be in use by somebody else: it does not stop the rest. */
async function attempt(problems: Problems, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    problems.push({ what, error: asMosError(error, what).toDocument() });
  }
}

/** The images of all generations that stay, as the index of the store lists them. */
async function references({ places }: AgentContext, { kept, blobs }: GarbagePlan): Promise<Reference[]> {
  const going = new Set(blobs.map(({ name }) => name));
  const found = new Map<Digest, Reference>();
  for (const number of kept) {
    for (const { digest, size } of await targetsOf(places, number)) {
      if (going.has(digest)) continue;
      found.set(digest, { descriptor: { mediaType: mediaTypes.manifest, digest, size }, name: digest });
    }
  }
  return [...found.values()];
}

async function targetsOf(places: AgentContext["places"], number: number) {
  try {
    return storedManifest(await readGeneration(places, number)).targets;
  } catch {
    // Kept for its number alone.
    return [];
  }
}

async function collectStore(context: AgentContext, plan: GarbagePlan): Promise<void> {
  const path = storePath(context.places);
  const [first] = plan.blobs;
  if (first === undefined) return;
  const store = await Layout.open(path);
  await store.setReferences(await references(context, plan));
  for (const { name } of plan.blobs) await discard(store.blobPath(name));
  await syncDirectory(dirname(store.blobPath(first.name)));
}

async function collectVolume(context: AgentContext, label: string): Promise<void> {
  const path = volumePath(context.places, label, false);
  await context.systemd.stopUnits([mountUnitName(path)]);
  try {
    // Never with what is in it: a mount that did not go stays.
    await removeDirectory(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

async function collect(context: AgentContext, plan: GarbagePlan): Promise<Problems> {
  const problems: Problems = [];
  await fault("gc.generations");
  for (const { name } of plan.generations) await removeGeneration(context.places, name);
  await fault("gc.store");
  await collectStore(context, plan);
  await fault("gc.leftovers");
  for (const { name } of plan.leftovers) await removeTree(name);
  await fault("gc.idmaps");
  await releaseIdMaps(context.places, plan.groups);
  for (const label of plan.volumes)
    await attempt(problems, `volume ${label}`, () => collectVolume(context, label));
  for (const name of plan.networks) {
    await attempt(problems, `network ${name}`, () =>
      context.systemd.runOnce("podman", "network", "rm", "--", name),
    );
  }
  return problems;
}

/** @throws MosError `state-invalid`, `no-permission`, `io-failed`, …; what has gone by then was garbage */
async function collectGarbage(context: AgentContext, dryRun: boolean): Promise<GcResult> {
  const plan = planGarbage(await readStateOnDisk(context));
  const bytes = sum(plan.generations) + sum(plan.blobs) + sum(plan.leftovers);
  const problems = dryRun ? [] : await collect(context, plan);
  return { ...plan, dryRun, bytes, problems };
}

/**
 * Removes what nobody needs, or says what it would remove.
 * @throws MosError `busy` while a transaction runs, `state-invalid` when it is not known what runs
 */
export async function gc(context: AgentContext, { dryRun }: { readonly dryRun: boolean }): Promise<GcResult> {
  return await withLock(lockPath(context.places), dryRun ? "gc, dry run" : "gc", () =>
    collectGarbage(context, dryRun),
  );
}

/** After a commit, under its lock. It never fails: what could not be removed is logged and goes the next time. */
export async function collectAfterCommit(context: AgentContext): Promise<void> {
  try {
    const { bytes, generations, problems } = await collectGarbage(context, false);
    log.info(
      { bytes, generations: generations.map(({ name }) => name) },
      "what is no longer needed has gone",
    );
    for (const { what, error } of problems)
      log.warn({ what, code: error.code }, `cannot remove the ${what}: ${error.message}`);
  } catch (error) {
    const { code, message } = asMosError(error);
    log.warn({ code }, `cannot remove what is no longer needed: ${message}`);
  }
}
