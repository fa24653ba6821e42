// A verity layer as units: one service that opens the dm-verity device, and per nsgroup one id-mapped mount of
// it. systemd opens them when a service needs them and closes them when none does.
import { MosError } from "../errors/mos-error.ts";
import { mountUnitName } from "../systemd/escape.ts";
import { command, formatUnit, raw, words } from "../systemd/unit-file.ts";
import { rangeLength } from "./idmap.ts";
import type { Layer, RenderedUnit } from "./model.ts";
import { layerDevice, layerMount, layerUnit, type Places } from "./unit-names.ts";

/** One use of a layer: by a service, under a uid map (undefined is the host's own). */
export interface LayerUse {
  readonly layer: Layer;
  readonly service: string;
  readonly group: string;
  readonly firstId: number | undefined;
}

/** Units of all layers, each device and each mount once, with the services that use it. */
export function renderLayers(uses: readonly LayerUse[], places: Places): RenderedUnit[] {
  const devices = Map.groupBy(uses, ({ layer }) => layerDevice(layer.rootHash));
  const mounts = Map.groupBy(uses, ({ layer, group }) => layerMount(places, layer.rootHash, group));
  return [
    ...[...devices.values()].map((users) => deviceUnit(users, places)),
    ...[...mounts].map(([path, users]) => mountUnit(path, users)),
  ];
}

function first(uses: readonly LayerUse[]): LayerUse {
  const use = uses[0];
  if (use === undefined) throw new MosError("internal", "a layer without a user");
  return use;
}

function serviceNames(uses: readonly LayerUse[]): string[] {
  return [...new Set(uses.map(({ service }) => service))].sort();
}

function deviceUnit(uses: readonly LayerUse[], places: Places): RenderedUnit {
  const { layer } = first(uses);
  const other = uses.find(({ layer: { rootHash } }) => rootHash !== layer.rootHash);
  if (other !== undefined) {
    throw new MosError(
      "internal",
      `two layers share the first digits of their root hash: ${layer.rootHash}, ${other.layer.rootHash}`,
    );
  }
  const device = layerDevice(layer.rootHash);
  const content = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos layer ${device} (dm-verity)`)],
        ["DefaultDependencies", raw("no")],
        // So early in a boot nothing has loaded these yet, and veritysetup does not load them itself.
        ["Wants", raw("modprobe@loop.service modprobe@dm_verity.service")],
        ["After", raw("modprobe@loop.service modprobe@dm_verity.service systemd-udevd.service")],
        ["RequiresMountsFor", words(`${places.state}/oci`)],
        ["Conflicts", raw("shutdown.target")],
        ["Before", raw("shutdown.target")],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Type", raw("oneshot")],
        ["RemainAfterExit", raw("yes")],
        [
          "ExecStart",
          command(
            "veritysetup",
            "open",
            `--hash-offset=${layer.hashOffset}`,
            layer.blob,
            device,
            layer.blob,
            layer.rootHash,
          ),
        ],
        ["ExecStop", command("veritysetup", "close", device)],
        ["TimeoutSec", raw("60")],
      ],
    },
  ]);
  return { kind: "systemd", name: layerUnit(layer.rootHash), content, services: serviceNames(uses) };
}

function mountUnit(path: string, uses: readonly LayerUse[]): RenderedUnit {
  const { layer, group, firstId } = first(uses);
  const device = layerUnit(layer.rootHash);
  const map = firstId === undefined ? "" : `,X-mount.idmap=b:0:${firstId}:${rangeLength}`;
  const content = formatUnit([
    {
      name: "Unit",
      entries: [
        [
          "Description",
          raw(`mos layer ${layerDevice(layer.rootHash)} for nsgroup ${group === "" ? "none" : group}`),
        ],
        ["DefaultDependencies", raw("no")],
        ["BindsTo", raw(device)],
        ["Wants", raw(`modprobe@${layer.kind}.service`)],
        ["After", raw(`${device} modprobe@${layer.kind}.service`)],
        ["Conflicts", raw("umount.target")],
        ["Before", raw("umount.target")],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    {
      name: "Mount",
      entries: [
        ["What", raw(`/dev/mapper/${layerDevice(layer.rootHash)}`)],
        ["Where", raw(path)],
        ["Type", raw(layer.kind)],
        ["Options", raw(`ro,nodev${map}`)],
      ],
    },
  ]);
  return { kind: "systemd", name: mountUnitName(path), content, services: serviceNames(uses) };
}
