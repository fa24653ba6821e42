// Which disk an installer writes to. Pure: what the machine has is given.
import { MosError } from "../errors/mos-error.ts";

export interface Disk {
  /** As the kernel names it, such as `sda`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly isReadOnly: boolean;
  /** What is on it already, as wipefs names it (`gpt`, `ext4`, …); nothing for an empty disk. */
  readonly content: readonly string[];
}

interface Wanted {
  /** A name, or undefined for the only one there is. */
  readonly name: string | undefined;
  /** Bytes that are needed. */
  readonly size: number;
  /** A disk that is not empty may be written over. */
  readonly wipe: boolean;
}

const named = ({ name, size }: Disk): string => `/dev/${name} (${Math.floor(size / 1024 ** 3)} GiB)`;

/**
 * The disk to install onto.
 * @param disks all but the installer's own
 * @throws MosError `install-refused`
 */
export function chooseDisk(disks: readonly Disk[], { name, size, wipe }: Wanted): Disk {
  const refuse = (why: string): never => {
    throw new MosError("install-refused", `cannot install: ${why}`, { problems: disks.map(named) });
  };
  const writable = disks.filter((disk) => !disk.isReadOnly && disk.size > 0);
  const chosen = name === undefined ? writable : writable.filter((disk) => disk.name === name);
  const [disk] = chosen;
  if (disk === undefined)
    return refuse(name === undefined ? "there is no disk to install onto" : `there is no disk /dev/${name}`);
  if (chosen.length > 1)
    return refuse(`there are ${chosen.length} disks, and the image does not say which one is meant`);
  if (disk.size < size)
    return refuse(`${named(disk)} is too small: ${Math.ceil(size / 1024 ** 2)} MiB are needed`);
  if (disk.content.length > 0 && !wipe) {
    return refuse(
      `/dev/${disk.name} is not empty (${disk.content.join(", ")}), and the image does not say that it may be written over`,
    );
  }
  return disk;
}
