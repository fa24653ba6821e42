// mosctl history: the generations on this device, and which of them it could go to.
import { asMosError, type ErrorDocument, MosError } from "../errors/mos-error.ts";
import {
  type Generation,
  listGenerations,
  pointedGeneration,
  readGeneration,
} from "../generation/generations.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import { digestOf } from "../oci/digest.ts";
import { recordsOnDisk } from "./candidate.ts";
import type { AgentContext } from "./context.ts";
import { acceptGeneration, type CurrentRoot, currentRoot, type DeviceTrust, loadTrust } from "./trust.ts";

export interface HistoryEntry {
  readonly number: number;
  readonly state: "current" | "previous" | "kept";
  readonly product?: string;
  readonly manifestDigest?: string;
  readonly release?: { readonly serial: number; readonly epoch: number };
  readonly reference?: string;
  /** RFC 3339. */
  readonly acceptedAt?: string;
  /** Why the device does not go to it. What its images are like is looked at when it is asked to. */
  readonly error?: ErrorDocument;
}

interface Today {
  readonly trust: DeviceTrust;
  readonly current: CurrentRoot;
}

function describe(generation: Generation, today: Today): Omit<HistoryEntry, "number" | "state"> {
  const { reference, acceptedAt, trustRecords } = generation.record;
  const manifest = parseInstallManifest(generation.manifest);
  const { product, release } = manifest;
  const said = {
    ...{ product, manifestDigest: digestOf(generation.manifest), reference, acceptedAt },
    ...(release === undefined ? {} : { release: { serial: release.serial, epoch: release.epoch } }),
  };
  try {
    acceptGeneration(today.trust, today.current.root, generation);
    if (trustRecords === today.current.records.length) return said;
    throw new MosError("handover-refused", "whom this device trusts has changed since");
  } catch (error) {
    return { ...said, error: asMosError(error).toDocument() };
  }
}

/**
 * All generations, the newest first.
 * @throws MosError when the device's trust itself cannot be loaded
 */
export async function history(context: AgentContext): Promise<readonly HistoryEntry[]> {
  const { places } = context;
  const trust = await loadTrust(context);
  const today = { trust, current: currentRoot(trust, await recordsOnDisk(context)) };
  const pointer = (name: "current" | "previous") => pointedGeneration(places, name).catch(() => undefined);
  const [current, previous] = await Promise.all([pointer("current"), pointer("previous")]);
  const entries: HistoryEntry[] = [];
  for (const number of (await listGenerations(places)).toReversed()) {
    const state = number === current ? "current" : number === previous ? "previous" : "kept";
    try {
      entries.push({ number, state, ...describe(await readGeneration(places, number), today) });
    } catch (error) {
      entries.push({ number, state, error: asMosError(error).toDocument() });
    }
  }
  return entries;
}
