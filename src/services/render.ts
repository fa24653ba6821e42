// manifest → units: the compiler that mos is. Pure: the same input gives the same files, in a stable order.
import { MosError } from "../errors/mos-error.ts";
import { isHostGroup } from "../manifest/names.ts";
import { networksOf } from "../manifest/networks.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import { formatUnit, raw, unitNames } from "../systemd/unit-file.ts";
import { renderContainer } from "./containers.ts";
import { renderEphemeral } from "./ephemeral.ts";
import { renderFiles } from "./files.ts";
import type { IdMaps } from "./idmap.ts";
import { renderLayers } from "./layers.ts";
import type { RenderedUnit, RenderInput, ServiceImage } from "./model.ts";
import { hostsOf, networkReference, renderNetwork } from "./networks.ts";
import { type Quadlet, quadletFile, serviceFile } from "./podman-service.ts";
import { renderRoot } from "./roots.ts";
import { rootUnit, serviceUnit, sliceUnit, targetUnit } from "./unit-names.ts";
import { renderVolume } from "./volumes.ts";

/** Targets that are not activated on the running system: they are what it boots from. */
export function isBootTarget({ service_name, service_type }: Target): boolean {
  return service_type === "hostfs" || service_name === "bootkit";
}

/** The nsgroups of a manifest that need a uid range, in the order in which they are first named. */
export function groupsOf(manifest: InstallManifest): string[] {
  const named = [...manifest.targets, ...manifest.storage].map(({ nsgroup }) => nsgroup);
  return [...new Set(named)].filter((group) => !isHostGroup(group));
}

/**
 * All units of a generation, sorted by name.
 * @throws MosError `image-unusable`, `layer-unsupported`
 */
export function renderUnits(input: RenderInput): RenderedUnit[] {
  const active = input.images.filter(({ target }) => !isBootTarget(target));
  const units = [
    targetFile(input, active),
    sliceFile(),
    ...renderLayers(
      active.flatMap((image) => layerUses(image, input.idmaps)),
      input.places,
    ),
    ...active.flatMap((image) =>
      renderRoot(
        image,
        firstIdOf(image.target.nsgroup, input.idmaps),
        mountedInto(image.target, active),
        input.places,
      ),
    ),
    ...volumes(input),
    ...[...networks(input, active), ...containers(input, active)].map(
      input.podmanUnits === "by-quadlet" ? quadletFile : serviceFile,
    ),
    ...active.flatMap(({ target }) => [
      ...renderFiles(target, firstIdOf(target.nsgroup, input.idmaps) ?? 0, input.places),
      ...renderEphemeral(target),
    ]),
  ];
  return units.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Services that have the root of an `fs-only` target among their own files. */
function mountedInto({ service_name: name }: Target, active: readonly ServiceImage[]): string[] {
  return active
    .filter(({ target }) => target.mounts?.some(({ service }) => service === name) === true)
    .map(({ target }) => target.service_name)
    .sort();
}

/** First host id of a group's range; undefined for the host's own map. */
export function firstIdOf(group: string, idmaps: IdMaps): number | undefined {
  if (isHostGroup(group)) return undefined;
  const first = idmaps.get(group);
  if (first === undefined)
    throw new MosError("internal", `no uid range was allocated for the nsgroup ${group}`);
  return first;
}

function layerUses(image: ServiceImage, idmaps: IdMaps) {
  const { service_name: service, nsgroup: group } = image.target;
  return image.layers.map((layer) => ({ layer, service, group, firstId: firstIdOf(group, idmaps) }));
}

function volumes({ manifest, idmaps, places }: RenderInput): RenderedUnit[] {
  return manifest.storage.flatMap((volume) => {
    const users = manifest.targets
      .filter(({ storage }) => storage.some(({ label }) => label === volume.label))
      .map(({ service_name }) => service_name);
    return renderVolume(volume, firstIdOf(volume.nsgroup, idmaps) ?? 0, users, places);
  });
}

/** Of all targets, so that an image that cannot be used changes nothing for the neighbours of its service. */
function networks({ manifest }: RenderInput, active: readonly ServiceImage[]): Quadlet[] {
  const running = new Set(active.map(({ target }) => target.service_name));
  return networksOf(manifest.targets).flatMap((network) => {
    const users = network.services.filter((service) => running.has(service));
    return users.length === 0 ? [] : [renderNetwork(network, users)];
  });
}

function containers(
  { manifest, idmaps, credentials, places }: RenderInput,
  active: readonly ServiceImage[],
): Quadlet[] {
  const labels = new Map(manifest.storage.map((volume) => [volume.label, volume]));
  const planned = networksOf(manifest.targets);
  const depended = new Set(
    active.flatMap(({ target }) => target.depends_on ?? []).map(({ service }) => service),
  );
  return active
    .filter(({ target }) => target.service_type === "container")
    .map((image) => {
      const network = planned.find(({ services }) => services.includes(image.target.service_name));
      return renderContainer(image, {
        firstId: firstIdOf(image.target.nsgroup, idmaps),
        network: network === undefined ? image.target.network.type : networkReference(network, image.target),
        hosts: network === undefined ? [] : hostsOf(image.target, network, manifest.targets),
        isDependedUpon: depended.has(image.target.service_name),
        volumes: labels,
        credentials,
        places,
      });
    });
}

/** What must be running for the generation to be up. */
export function wantedUnits(input: Pick<RenderInput, "images" | "places">): string[] {
  return input.images
    .filter(({ target }) => !isBootTarget(target))
    .map(({ target }) =>
      target.service_type === "container"
        ? serviceUnit(target.service_name)
        : rootUnit(input.places, target.service_name),
    );
}

function targetFile(input: RenderInput, active: readonly ServiceImage[]): RenderedUnit {
  const content = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos generation ${input.generation}`)],
        ...(active.length === 0 ? [] : [["Wants", unitNames(...wantedUnits(input))] as const]),
      ],
    },
  ]);
  return { kind: "systemd", name: targetUnit, content, services: [] };
}

function sliceFile(): RenderedUnit {
  const content = formatUnit([{ name: "Unit", entries: [["Description", raw("Services of mos")]] }]);
  return { kind: "systemd", name: sliceUnit, content, services: [] };
}
