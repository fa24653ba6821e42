// Each service of a generation with what systemd and the kernel say of its units; and for one that is not as it should be
// the reason, looked for where it lies.
import { type ErrorDocument, MosError } from "../errors/mos-error.ts";
import { readIdMaps } from "../generation/idmaps.ts";
import { loosenings } from "../manifest/lint.ts";
import { isHostGroup } from "../manifest/names.ts";
import type { Target } from "../manifest/schema.ts";
import type { IdMaps } from "../services/idmap.ts";
import { rangeLength } from "../services/idmap.ts";
import {
  containerName,
  layerDevice,
  layerMount,
  layerUnit,
  type Places,
  rootMount,
  rootUnit,
  scratchUnit,
  serviceUnit,
} from "../services/unit-names.ts";
import { mountUnitName } from "../systemd/escape.ts";
import type { ServiceManager, UnitProperties } from "../systemd/manager.ts";
import type { AgentContext } from "./context.ts";
import type { LoadedGeneration, LoadedImage, TargetProblem } from "./load.ts";
import { actualDigest, timestamp, uidMapOf, type VerityStates } from "./observe.ts";
import { secretProblem } from "./secrets.ts";
import type { LayerStatus, ServiceState, ServiceStatus } from "./status-model.ts";
import { isUnhealthy } from "./unhealthy.ts";

const properties = [
  "Id",
  "LoadState",
  "ActiveState",
  "SubState",
  "Result",
  "StateChangeTimestamp",
  "NRestarts",
  "ControlGroup",
  "ExecMainStatus",
];

type Units = ReadonlyMap<string, UnitProperties>;

interface Observed {
  readonly places: Places;
  readonly systemd: ServiceManager;
  readonly idmaps: IdMaps;
  readonly units: Units;
  readonly verity: VerityStates;
  /** Why a service cannot get its secrets. */
  readonly secretProblem: (target: Target) => Promise<MosError | undefined>;
}

/**
 * All services of a generation, by name.
 * @param verity asked for already, by whoever needs it besides
 */
export async function serviceStatuses(
  context: AgentContext,
  current: LoadedGeneration,
  verity: Promise<VerityStates>,
): Promise<ServiceStatus[]> {
  const observed = await observe(context, current, verity);
  const services = await Promise.all(current.images.map((image) => serviceStatus(image, observed)));
  const refused = current.problems.map((problem) => refusedService(problem, current));
  return [...services, ...refused].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function unitsOf(image: LoadedImage, places: Places): string[] {
  const { service_name, nsgroup } = image.target;
  return [
    serviceUnit(service_name),
    rootUnit(places, service_name),
    scratchUnit(service_name),
    ...image.layers.flatMap(({ rootHash }) => [
      layerUnit(rootHash),
      mountUnitName(layerMount(places, rootHash, nsgroup)),
    ]),
  ];
}

async function observe(
  context: AgentContext,
  { images, manifest }: LoadedGeneration,
  states: Promise<VerityStates>,
): Promise<Observed> {
  const { places } = context;
  const names = [...new Set(images.flatMap((image) => unitsOf(image, places)))];
  const [shown, verity, idmaps] = await Promise.all([
    context.systemd.showUnits(names, properties),
    states,
    readIdMaps(places).catch((): IdMaps => new Map()),
  ]);
  const units = new Map(shown.map((unit) => [unit["Id"] ?? "", unit]));
  const problem = (target: Target) => secretProblem(context, manifest.product, target);
  return { places, systemd: context.systemd, idmaps, verity, units, secretProblem: problem };
}

function stateOf(unit: UnitProperties | undefined, isContainer: boolean): ServiceState {
  switch (unit?.["ActiveState"]) {
    case "active":
    case "reloading":
      return isContainer ? "running" : "mounted";
    case "activating":
      return unit["SubState"] === "auto-restart" ? "restarting" : "starting";
    case "deactivating":
      return "stopping";
    case "failed":
      return "failed";
    default:
      return "stopped";
  }
}

async function serviceStatus(image: LoadedImage, observed: Observed): Promise<ServiceStatus> {
  const { target } = image;
  const isContainer = target.service_type === "container";
  const name = isContainer
    ? serviceUnit(target.service_name)
    : rootUnit(observed.places, target.service_name);
  const unit = observed.units.get(name);
  const state = stateOf(unit, isContainer);
  const since = timestamp(unit?.["StateChangeTimestamp"]);
  const first = isHostGroup(target.nsgroup) ? undefined : observed.idmaps.get(target.nsgroup);
  const layers = image.layers.map(({ rootHash }, i): LayerStatus => {
    const open = observed.verity.get(layerDevice(rootHash));
    return { digest: image.digests[i] ?? "", rootHash, state: open ?? "closed" };
  });
  const map =
    state === "running" && unit !== undefined ? await uidMapOf(unit["ControlGroup"] ?? "") : undefined;
  const expected = first === undefined ? `0 0 ${2 ** 32 - 1}` : `0 ${first} ${rangeLength}`;
  const error = await errorOf(
    image,
    state,
    layers,
    map !== undefined && map !== expected ? map : undefined,
    observed,
  );
  return {
    name: target.service_name,
    version: target.version,
    type: target.service_type,
    state: error?.code === "secret-unreadable" ? "refused" : state,
    unit: name,
    ...(since === undefined ? {} : { since }),
    restarts: Number(unit?.["NRestarts"] ?? 0) || 0,
    nsgroup: isHostGroup(target.nsgroup) ? "none" : target.nsgroup,
    ...(first === undefined ? {} : { ids: { first, last: first + rangeLength - 1 } }),
    ...(map === undefined
      ? {}
      : { idsInEffect: map === expected ? ("as allocated" as const) : ("different" as const) }),
    network: target.network.type,
    ports: target.network.ports,
    layers,
    secrets: target.secrets.map(({ name }) => name),
    ...loosened(target),
    ...(isContainer ? {} : { path: rootMount(observed.places, target.service_name) }),
    ...(error === undefined ? {} : { error }),
  };
}

function loosened(target: Target): Pick<ServiceStatus, "loosened"> {
  const messages = loosenings(target, []).map(({ message }) => message);
  return messages.length === 0 ? {} : { loosened: messages };
}

/** Why a service is not as it should be; undefined when it is. */
async function errorOf(
  image: LoadedImage,
  state: ServiceState,
  layers: readonly LayerStatus[],
  wrongMap: string | undefined,
  observed: Observed,
): Promise<ErrorDocument | undefined> {
  const service = image.target.service_name;
  const corrupt =
    layers.find((layer) => layer.state === "corrupt") ?? (await damagedLayer(image, layers, state, observed));
  if (corrupt !== undefined) {
    return new MosError(
      "layer-corrupt",
      `dm-verity refuses a block of a layer of ${service}: the stored blob is not what was signed`,
      {
        about: corrupt.digest,
      },
    ).toDocument();
  }
  if (wrongMap !== undefined) {
    return new MosError(
      "service-failed",
      `${service} runs with the uid map ${wrongMap}, not with the one that was allocated`,
      {
        about: service,
      },
    ).toDocument();
  }
  const group = observed.units.get(serviceUnit(service))?.["ControlGroup"] ?? "";
  if (state === "running" && (await isUnhealthy(group))) {
    const message = `${service} runs, but its health check fails`;
    const hint = `podman healthcheck run ${containerName(service)} asks it again.`;
    return new MosError("service-unhealthy", message, { about: service, hint }).toDocument();
  }
  if (state === "running" || state === "mounted" || state === "starting" || state === "stopping")
    return undefined;
  const secret = await observed.secretProblem(image.target);
  if (secret !== undefined) return secret.toDocument();
  const unit = failedUnit(image, observed);
  const log = await observed.systemd.lastLogLines(unit, 3).catch(() => []);
  const result = observed.units.get(unit)?.["Result"];
  const why = log.at(-1) ?? (result === undefined || result === "success" ? "it is not running" : result);
  return new MosError("service-failed", `${service} is ${state}: ${why}`, {
    about: unit,
    hint: `journalctl -b -u ${unit}`,
    problems: log,
  }).toDocument();
}

/** The unit of a service that failed, the deepest first: its layers, its root, itself. */
function failedUnit(image: LoadedImage, { units, places }: Observed): string {
  const names = unitsOf(image, places);
  const failed = names.toReversed().find((name) => units.get(name)?.["ActiveState"] === "failed");
  return failed ?? serviceUnit(image.target.service_name);
}

/** A layer that could not be opened or mounted because its blob is not what its digest says. */
async function damagedLayer(
  image: LoadedImage,
  layers: readonly LayerStatus[],
  state: ServiceState,
  { units, places }: Observed,
): Promise<LayerStatus | undefined> {
  if (state === "running" || state === "mounted") return undefined;
  for (const [i, { rootHash, blob }] of image.layers.entries()) {
    const own = [layerUnit(rootHash), mountUnitName(layerMount(places, rootHash, image.target.nsgroup))];
    const hasFailed = own.some((name) => units.get(name)?.["ActiveState"] === "failed");
    if (hasFailed && (await actualDigest(blob)) !== image.digests[i]) return layers[i];
  }
  return undefined;
}

function refusedService({ service, error }: TargetProblem, { manifest }: LoadedGeneration): ServiceStatus {
  const target = manifest.targets.find(({ service_name }) => service_name === service);
  return {
    name: service,
    version: target?.version ?? "",
    type: target?.service_type ?? "container",
    state: "refused",
    unit: serviceUnit(service),
    restarts: 0,
    nsgroup: target === undefined || isHostGroup(target.nsgroup) ? "none" : target.nsgroup,
    network: target?.network.type ?? "none",
    ports: target?.network.ports ?? [],
    layers: [],
    secrets: (target?.secrets ?? []).map(({ name: secret }) => secret),
    error: error.toDocument(),
  };
}
