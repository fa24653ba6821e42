// A persistent volume whose size holds: an ext4 file system in a file of its own, mounted through a loop device. It works
// on whatever file system the state is on, needs no quota to be switched on anywhere, and a volume that is full hurts
// only those who use it. The file is sparse: it takes what is in it.
import type { Volume } from "../manifest/schema.ts";
import { mountUnitName } from "../systemd/escape.ts";
import { command, formatUnit, raw, unitNames, words } from "../systemd/unit-file.ts";
import type { RenderedUnit } from "./model.ts";
import {
  type Places,
  volumeImage,
  volumeImageUnit,
  volumeMount,
  volumePath,
  volumeUnit,
} from "./unit-names.ts";

/** `owner` is the first host id of the volume's nsgroup, 0 for the host's own map. */
export function renderDisk(
  volume: Volume,
  owner: number,
  users: readonly string[],
  places: Places,
): RenderedUnit[] {
  const services = [...users].sort();
  const prepare = volumeImageUnit(volume.label);
  const where = volumeMount(places, volume.label);
  const unit = mountUnitName(where);
  const grow = `systemd-growfs@${unit.slice(0, -".mount".length)}.service`;
  const mount = formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos volume ${volume.label} (${volume.size} MiB)`)],
        ["DefaultDependencies", raw("no")],
        ["Requires", unitNames(prepare)],
        // The file may have grown (systemd-growfs@.service(8)); where it has not, this does nothing.
        ["Wants", unitNames("modprobe@ext4.service", grow)],
        ["After", unitNames(prepare, "modprobe@ext4.service")],
        ["Conflicts", raw("umount.target")],
        ["Before", raw("umount.target")],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    {
      name: "Mount",
      entries: [
        ["What", raw(volumeImage(places, volume.label))],
        ["Where", raw(where)],
        ["Type", raw("ext4")],
        // A file system that turns out to be damaged is not written to any further.
        ["Options", raw("loop,nodev,nosuid,errors=remount-ro")],
      ],
    },
  ]);
  const make = makeUnit(volume, owner, places);
  const check = checkUnit(volume, places);
  return [
    { kind: "systemd", name: volumeUnit(volume.label), content: make, services },
    { kind: "systemd", name: prepare, content: check, services },
    { kind: "systemd", name: unit, content: mount, services },
  ];
}

/** Makes the file once, under another name and renamed, so that a power cut never leaves half of one. */
function makeUnit({ label, size }: Volume, owner: number, places: Places): string {
  const path = volumeImage(places, label);
  const fresh = `${path}.new`;
  const ids = [`--owner=${owner}`, `--group=${owner}`];
  return formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos volume ${label}`)],
        ["DefaultDependencies", raw("no")],
        ["RequiresMountsFor", words(`${places.state}/volumes`)],
        ["ConditionPathExists", raw(`!${path}`)],
        // A volume that was made without `enforce` is not passed over in silence for an empty one.
        ["AssertPathExists", raw(`!${volumePath(places, label, true)}`)],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Type", raw("oneshot")],
        ["RemainAfterExit", raw("yes")],
        ["ExecStart", command("install", "--directory", "--mode=0711", `${places.state}/volumes`)],
        // Owned by the group, so that its range of ids stays its own as long as the volume is there.
        ["ExecStart", command("install", "--mode=0600", ...ids, "/dev/null", fresh)],
        ["ExecStart", command("truncate", `--size=${size}M`, fresh)],
        [
          "ExecStart",
          command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", `root_owner=${owner}:${owner}`, fresh),
        ],
        ["ExecStart", command("sync", fresh)],
        ["ExecStart", command("mv", "--no-target-directory", fresh, path)],
        ["TimeoutStartSec", raw("600")],
      ],
    },
  ]);
}

/** Lets the file grow and mends what a power cut left, before each mount. */
function checkUnit({ label, size }: Volume, places: Places): string {
  const path = volumeImage(places, label);
  const make = volumeUnit(label);
  return formatUnit([
    {
      name: "Unit",
      entries: [
        ["Description", raw(`mos file system of the volume ${label}`)],
        ["DefaultDependencies", raw("no")],
        ["Requires", unitNames(make)],
        ["Wants", raw("modprobe@loop.service")],
        ["After", unitNames(make, "modprobe@loop.service")],
        ["StopWhenUnneeded", raw("yes")],
      ],
    },
    {
      name: "Service",
      entries: [
        ["Type", raw("oneshot")],
        ["RemainAfterExit", raw("yes")],
        // `>`: to this size if it is smaller, never back.
        ["ExecStart", command("truncate", `--size=>${size}M`, path)],
        // 1 says that errors were corrected (e2fsck(8)).
        ["SuccessExitStatus", raw("1")],
        ["ExecStart", command("e2fsck", "-p", path)],
        ["TimeoutStartSec", raw("600")],
      ],
    },
  ]);
}
