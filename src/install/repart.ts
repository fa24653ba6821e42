// What systemd-repart makes of a disk (repart.d(5)): copies of the installer's own verified partitions, and an empty
// file system for state that takes what is left.
import { installerPartitions, partitions, rootPartitionUuids } from "../image/disk-layout.ts";

/** Text by file name. */
export type Definitions = ReadonlyMap<string, string>;

function definition(lines: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(lines).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${value}`],
  );
  return `[Partition]\n${given.join("\n")}\n`;
}

/**
 * The definitions.
 * @param rootHash of the signed command line: only partitions of these uuids are copied
 * @param swap MiB, or undefined for none
 * @param mark a file with what state is to begin with that is encrypted at the first start; undefined for a file system
 */
export function repartDefinitions(
  rootHash: string,
  swap: number | undefined,
  mark: string | undefined,
): Definitions {
  const uuids = rootPartitionUuids(rootHash);
  const { esp, root, rootVerity, state } = partitions;
  // Weight 0: they get what they need, and all the rest is for state.
  const copy = { Weight: "0" };
  const files: [string, string][] = [
    [
      "10-esp.conf",
      definition({
        Type: esp.type,
        Label: esp.name,
        CopyBlocks: `/dev/disk/by-partlabel/${installerPartitions.payload.name}`,
        ...copy,
      }),
    ],
    [
      "20-root.conf",
      definition({
        Type: root.type,
        Label: root.name,
        UUID: uuids.root,
        CopyBlocks: `/dev/disk/by-partuuid/${uuids.root}`,
        ...copy,
      }),
    ],
    [
      "30-root-verity.conf",
      definition({
        Type: rootVerity.type,
        Label: rootVerity.name,
        UUID: uuids.verity,
        CopyBlocks: `/dev/disk/by-partuuid/${uuids.verity}`,
        ...copy,
      }),
    ],
    [
      "50-state.conf",
      definition({
        ...{ Type: state.type, Label: state.label, SizeMinBytes: "64M" },
        ...(mark === undefined ? { Format: "ext4" } : { CopyBlocks: mark }),
      }),
    ],
  ];
  if (swap !== undefined) {
    const size = `${swap}M`;
    const kind = mark === undefined ? partitions.swap : partitions.encryptedSwap;
    files.push([
      "40-swap.conf",
      definition({
        Type: kind.type,
        Label: kind.name,
        Format: mark === undefined ? "swap" : undefined,
        SizeMinBytes: size,
        SizeMaxBytes: size,
      }),
    ]);
  }
  return new Map(files.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
