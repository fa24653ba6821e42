// Puts the status together: the generation, verified anew, its services, and what is being done to the device.
import { isRootOf } from "../boot/command-line.ts";
import { asMosError, type ErrorDocument, MosError } from "../errors/mos-error.ts";
import { readFailures } from "../generation/failures.ts";
import { pointedGeneration } from "../generation/generations.ts";
import type { Transaction } from "../generation/transaction.ts";
import type { Release } from "../manifest/schema.ts";
import { digestOf } from "../oci/digest.ts";
import { isBootTarget } from "../services/render.ts";
import { mosVersion } from "../system/version.ts";
import { type Active, loadActive } from "./active.ts";
import { bootStatus } from "./boot-status.ts";
import type { AgentContext } from "./context.ts";
import { secureBootStatus } from "./firmware.ts";
import { levelStatus } from "./level-status.ts";
import type { LoadedGeneration } from "./load.ts";
import { verityStates } from "./observe.ts";
import { readRecovery } from "./recovery.ts";
import { rootDamage } from "./root-damage.ts";
import { serviceStatuses } from "./service-status.ts";
import { type StartedSystem, startedSystem } from "./started.ts";
import type { ServiceStatus, Status, TrustStatus } from "./status-model.ts";

/** The status of this device. Never throws for what is wrong with the device: that is what it reports. */
export async function status(context: AgentContext): Promise<Status> {
  const started = await startedSystem(context);
  const [sets, failures] = [await levelStatus(context), await failuresOf(context)];
  const known = { ...bootStatus(context), ...sets, ...systemStatus(started), ...failures };
  let active: Active;
  try {
    active = await loadActive(context);
  } catch (error) {
    return {
      ...empty("refused"),
      ...known,
      ...recoveryStatus(context),
      error: asMosError(error).toDocument(),
    };
  }
  const { loaded: current, transaction } = active;
  const settling = { ...known, ...transactionStatus(transaction) };
  if (current === undefined) return { ...empty("none"), ...settling };
  const verity = verityStates();
  const services = await serviceStatuses(context, current, verity);
  const previous = await pointedGeneration(context.places, "previous").catch(() => undefined);
  const isStarted = started !== undefined && isRootOf(started.root, current.hostfs);
  const state = isStarted ? "running" : "stored";
  const damage = [...active.damage, ...rootDamage(started, await verity)];
  return {
    version: 1,
    health: healthOf(services),
    mosVersion: mosVersion(),
    generation: {
      number: current.number,
      product: current.manifest.product,
      manifestDigest: current.digest,
      reference: current.record.reference,
      acceptedAt: current.record.acceptedAt,
      ...releaseStatus(current.manifest.release),
      ...(previous === undefined ? {} : { previous }),
      ...partsOf(current),
    },
    ...settling,
    ...(damage.length === 0 ? {} : { damage: damage.map((error) => error.toDocument()) }),
    trust: await trustStatus(context, current),
    services,
    bootTargets: current.manifest.targets
      .filter(isBootTarget)
      .map(({ service_name, version, digest }) => ({ name: service_name, version, digest, state })),
  };
}

/** What was tried to get a release that can be verified. */
function recoveryStatus({ places }: AgentContext): Pick<Status, "recovery"> {
  const record = readRecovery(places);
  if (record === undefined) return {};
  const { at, attempts } = record;
  return { recovery: { at, attempts } };
}

/** The manifests below the one that was applied last, where it is a partial one. */
function partsOf({ generation }: LoadedGeneration): Pick<NonNullable<Status["generation"]>, "bases"> {
  const bases = generation.bases.map(({ manifest }) => digestOf(manifest));
  return bases.length === 0 ? {} : { bases };
}

function transactionStatus(
  transaction: Transaction | undefined,
): Pick<Status, "transaction" | "rebootNeeded"> {
  if (transaction === undefined) return {};
  const { kind, from, to, phase, tries, startedAt } = transaction;
  return {
    ...(phase === "reboot" ? { rebootNeeded: true } : {}),
    transaction: { kind, ...(from === null ? {} : { from }), to, phase, triesLeft: tries, startedAt },
  };
}

function systemStatus(started: StartedSystem | undefined): Pick<Status, "system"> {
  if (started === undefined) return {};
  const { rootHashes, stored = [] } = started.root;
  const [rootHash = ""] = rootHashes;
  const [lowest] = stored;
  return {
    system: {
      rootHash,
      ...(lowest === undefined ? {} : { hostfs: lowest.digest }),
      ...(stored.length > 1 ? { layers: stored } : {}),
    },
  };
}

/** Manifests that failed here, the last one first. */
async function failuresOf({ places }: AgentContext): Promise<Pick<Status, "failures">> {
  const failures = await readFailures(places).catch((error: unknown) => {
    if (error instanceof MosError) return [];
    throw error;
  });
  if (failures.length === 0) return {};
  return {
    failures: failures.toReversed().map(({ digest, ...failure }) => ({ manifestDigest: digest, ...failure })),
  };
}

function releaseStatus(release: Release | undefined): Pick<NonNullable<Status["generation"]>, "release"> {
  if (release === undefined) return {};
  const { serial, epoch, expires } = release;
  return { release: { serial, epoch, ...(expires === undefined ? {} : { expires }) } };
}

async function trustStatus(context: AgentContext, loaded: LoadedGeneration): Promise<TrustStatus> {
  const { trust, current, signers } = loaded;
  return {
    level: "signature",
    policy: trust.policy.source,
    threshold: current.root.threshold,
    signers: signers.map(({ subject, fingerprint, algorithm, notAfter, anchor }) => ({
      ...{ subject, fingerprint, algorithm, expires: notAfter.toISOString() },
      ...{ anchor: anchor.source, anchorSubject: anchor.subject },
    })),
    ...(trust.product === undefined
      ? {}
      : { product: { name: trust.product.product, source: trust.product.source } }),
    memory: trust.memory.kind,
    lowestEpoch: Math.max(trust.floor.epoch, loaded.manifest.release?.epoch ?? 0),
    records: current.records.length,
    secureBoot: await secureBootStatus(context.trust),
  };
}

export interface UnwellService {
  readonly service: string;
  readonly error: ErrorDocument;
}

/** Services that are not well, and why. */
export async function unwellServices(context: AgentContext): Promise<readonly UnwellService[]> {
  const { services } = await status(context);
  return services.flatMap(({ name, error }) => (error === undefined ? [] : [{ service: name, error }]));
}

function empty(health: "none" | "refused"): Status {
  return { version: 1, health, mosVersion: mosVersion(), services: [], bootTargets: [] };
}

function healthOf(services: readonly ServiceStatus[]): Status["health"] {
  const isBad = ({ state, error }: ServiceStatus) =>
    error !== undefined || ["failed", "refused", "stopped", "stopping", "restarting"].includes(state);
  if (services.some(isBad)) return "degraded";
  return services.some(({ state }) => state === "starting") ? "starting" : "ok";
}
