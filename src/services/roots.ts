// The root of a target as units: its layers overlaid in order. A container gets scratch above them, a tmpfs that
// is empty at every start; a target that does not run is read-only.
import { MosError } from "../errors/mos-error.ts";
import type { Target } from "../manifest/schema.ts";
import { command, formatUnit, raw, type Section, unitNames, words } from "../systemd/unit-file.ts";
import type { RenderedUnit, ServiceImage } from "./model.ts";
import { readOnlyOverlay } from "./read-only.ts";
import {
  layerMount,
  type Places,
  rootMount,
  rootUnit,
  scratchMount,
  scratchMountUnit,
  scratchUnit,
} from "./unit-names.ts";

/** Most that a service can write outside its volumes unless it says otherwise, MiB, and how many files. Held in memory. */
export const defaultScratch = 64;
const scratchInodes = 65_536;

/**
 * Longest option string of a classic mount(2): one page. libmount falls back to it for overlays whose lowerdir
 * is too long for fsconfig(2), so this bounds the number of layers (about 100).
 */
const mountOptionsMax = 4095;

function layerMounts({ target, layers }: ServiceImage, places: Places): string[] {
  return layers.map(({ rootHash }) => layerMount(places, rootHash, target.nsgroup));
}

/**
 * Units of the root of one target.
 * @param firstId first host id of its nsgroup, undefined for the host's map
 * @param users services that it is mounted into
 */
export function renderRoot(
  image: ServiceImage,
  firstId: number | undefined,
  users: readonly string[],
  places: Places,
): RenderedUnit[] {
  const mounts = layerMounts(image, places);
  if (image.target.service_type === "container") {
    return [...scratchUnits(image.target, firstId ?? 0, places), writableRoot(image, mounts, places)];
  }
  return [readOnlyRoot(image, mounts, users, places)];
}

function scratchUnits(target: Target, owner: number, places: Places): RenderedUnit[] {
  const service = target.service_name;
  const where = scratchMount(places, service);
  const mount = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos scratch of ${service}`)],
        ["DefaultDependencies", raw("no")],
        ["Conflicts", raw("umount.target")],
        ["Before", raw("umount.target")],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    {
      name: "Mount",
      entries: [
        ["What", raw("tmpfs")],
        ["Where", raw(where)],
        ["Type", raw("tmpfs")],
        [
          "Options",
          raw(`mode=0700,size=${target.limits?.scratch ?? defaultScratch}M,nr_inodes=${scratchInodes},nodev`),
        ],
      ],
    },
  ]);
  // An overlay's root directory has the owner of its upper directory: the container's root.
  const prepare = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos scratch directories of ${service}`)],
        ["DefaultDependencies", raw("no")],
        ["BindsTo", unitNames(scratchMountUnit(places, service))],
        ["After", unitNames(scratchMountUnit(places, service))],
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
            "install",
            "--directory",
            "--mode=0755",
            `--owner=${owner}`,
            `--group=${owner}`,
            // Overlayfs makes a directory of its own in it, which nobody else can open; one process less to start.
            `${where}/upper`,
            `${where}/work`,
          ),
        ],
      ],
    },
  ]);
  return [
    { kind: "systemd", name: scratchMountUnit(places, service), content: mount, services: [service] },
    { kind: "systemd", name: scratchUnit(service), content: prepare, services: [service] },
  ];
}

function rootSections(
  image: ServiceImage,
  needs: readonly string[],
  more: Section["entries"],
  mount: Section["entries"],
): Section[] {
  return [
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos root of ${image.target.service_name}`)],
        ["DefaultDependencies", raw("no")],
        ["RequiresMountsFor", words(...needs)],
        ...more,
        ["Conflicts", raw("umount.target")],
        ["Before", raw("umount.target")],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    { name: "Mount", entries: mount },
  ];
}

function overlayOptions(image: ServiceImage, mounts: readonly string[], upper: string): string {
  const options = `lowerdir=${mounts.toReversed().join(":")}${upper}`;
  if (options.length > mountOptionsMax) {
    throw new MosError(
      "layer-unsupported",
      `${image.target.service_name} has ${mounts.length} layers, more than one overlay can hold`,
      {
        about: image.target.service_name,
        hint: "Squash some of the layers into one.",
      },
    );
  }
  return options;
}

function writableRoot(image: ServiceImage, mounts: readonly string[], places: Places): RenderedUnit {
  const service = image.target.service_name;
  const scratch = scratchMount(places, service);
  const upper = `,upperdir=${scratch}/upper,workdir=${scratch}/work${readOnlyOverlay(image.target)}`;
  const content = formatUnit(
    rootSections(
      image,
      [...mounts, scratch],
      [
        ["Requires", unitNames(scratchUnit(service))],
        ["After", unitNames(scratchUnit(service))],
      ],
      [
        ["What", raw("overlay")],
        ["Where", raw(rootMount(places, service))],
        ["Type", raw("overlay")],
        ["Options", raw(overlayOptions(image, mounts, upper))],
      ],
    ),
  );
  return { kind: "systemd", name: rootUnit(places, service), content, services: [service] };
}

function readOnlyRoot(
  image: ServiceImage,
  mounts: readonly string[],
  users: readonly string[],
  places: Places,
): RenderedUnit {
  const service = image.target.service_name;
  const only = mounts.length === 1 ? mounts[0] : undefined;
  const where = raw(rootMount(places, service));
  // The kernel refuses an overlay of a single lower directory without an upper one.
  const mount: Section["entries"] =
    only === undefined
      ? [
          ["What", raw("overlay")],
          ["Where", where],
          ["Type", raw("overlay")],
          ["Options", raw(`${overlayOptions(image, mounts, "")},ro`)],
        ]
      : [
          ["What", raw(only)],
          ["Where", where],
          ["Type", raw("none")],
          ["Options", raw("bind,ro")],
        ];
  const content = formatUnit(rootSections(image, mounts, [], mount));
  return { kind: "systemd", name: rootUnit(places, service), content, services: [service, ...users] };
}
