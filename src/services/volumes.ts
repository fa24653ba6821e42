// Volumes as units. A persistent one is a directory of the state file system that is made once, whole, and never
// touched again; one that is not persistent is a tmpfs of its stated size that ends with the boot.
import type { Volume } from "../manifest/schema.ts";
import { mountUnitName } from "../systemd/escape.ts";
import { command, formatUnit, raw, words } from "../systemd/unit-file.ts";
import { renderDisk } from "./disks.ts";
import type { RenderedUnit } from "./model.ts";
import { type Places, volumeImage, volumeMount, volumePath, volumeUnit } from "./unit-names.ts";

/** Where a volume is on the device when it can be used. */
export function volumeSource({ label, persistent, enforce }: Volume, places: Places): string {
  return enforce === true ? volumeMount(places, label) : volumePath(places, label, persistent);
}

/** The unit that a service must have before its volume can be used. */
export function volumeNeeds(volume: Volume, places: Places): string {
  if (volume.enforce === true) return mountUnitName(volumeMount(places, volume.label));
  return volume.persistent
    ? volumeUnit(volume.label)
    : mountUnitName(volumePath(places, volume.label, false));
}

/** `owner` is the first host id of the volume's nsgroup, 0 for the host's own map. */
export function renderVolume(
  volume: Volume,
  owner: number,
  users: readonly string[],
  places: Places,
): RenderedUnit[] {
  if (volume.enforce === true) return renderDisk(volume, owner, users, places);
  const services = [...users].sort();
  const path = volumePath(places, volume.label, volume.persistent);
  if (!volume.persistent) {
    const content = formatUnit([
      {
        name: "Unit",
        entries: [
          ["Description", raw(`mos volume ${volume.label} (until power-off)`)],
          ["DefaultDependencies", raw("no")],
          ["Conflicts", raw("umount.target")],
          ["Before", raw("umount.target")],
        ],
      },
      {
        name: "Mount",
        entries: [
          ["What", raw("tmpfs")],
          ["Where", raw(path)],
          ["Type", raw("tmpfs")],
          ["Options", raw(`mode=0755,uid=${owner},gid=${owner},size=${volume.size}M,nodev,nosuid`)],
        ],
      },
    ]);
    return [{ kind: "systemd", name: mountUnitName(path), content, services }];
  }
  // Made under another name and renamed, so that a power cut never leaves one with the wrong owner.
  const content = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos volume ${volume.label}`)],
        ["DefaultDependencies", raw("no")],
        ["RequiresMountsFor", words(`${places.state}/volumes`)],
        ["ConditionPathExists", raw(`!${path}`)],
        // A volume that was made with `enforce` is not passed over in silence for an empty one.
        ["AssertPathExists", raw(`!${volumeImage(places, volume.label)}`)],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Type", raw("oneshot")],
        ["RemainAfterExit", raw("yes")],
        ["ExecStart", command("install", "--directory", "--mode=0711", `${places.state}/volumes`)],
        [
          "ExecStart",
          command(
            "install",
            "--directory",
            "--mode=0755",
            `--owner=${owner}`,
            `--group=${owner}`,
            `${path}..new`,
          ),
        ],
        ["ExecStart", command("mv", "--no-target-directory", `${path}..new`, path)],
      ],
    },
  ]);
  return [{ kind: "systemd", name: volumeUnit(volume.label), content, services }];
}
