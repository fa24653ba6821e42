// Room on the filesystem of the device's state: enough of it before something is fetched, and some of it always, so
// that the system itself can go on working.
import { statfs } from "node:fs/promises";
import { MosError } from "../errors/mos-error.ts";
import { formatBytes } from "../system/quantity.ts";

/** Bytes left free on the state filesystem. */
const reserveBytes = 16 * 1024 * 1024;
/** Files that can still be made there: those of a generation, and some. */
const reserveFiles = 16;
/** Milliseconds between two looks while something is fetched. */
const lookMs = 200;

interface Room {
  readonly bytes: number;
  /** Files that can be made; without end on filesystems that have no fixed number (btrfs says 0 of 0). */
  readonly files: number;
}

async function roomOn(path: string): Promise<Room> {
  const { bavail, bsize, files, ffree } = await statfs(path);
  return { bytes: bavail * bsize, files: files === 0 ? Number.POSITIVE_INFINITY : ffree };
}

/**
 * Before the first byte is fetched.
 * @throws MosError `no-space` when so many bytes in so many files do not fit beside what the system needs
 */
export async function checkRoom(path: string, needed: Room): Promise<void> {
  const free = await roomOn(path);
  if (needed.bytes + reserveBytes > free.bytes) {
    throw new MosError(
      "no-space",
      `the images need ${formatBytes(needed.bytes)} more and ${formatBytes(reserveBytes)} must stay free, but ${path} has ${formatBytes(free.bytes)}`,
      {
        about: path,
        hint: `Free ${formatBytes(needed.bytes + reserveBytes - free.bytes)} on the filesystem of ${path}. Nothing was fetched.`,
      },
    );
  }
  if (needed.files + reserveFiles > free.files) {
    throw new MosError(
      "no-space",
      `the images need ${needed.files} more files and ${reserveFiles} must stay possible, but the filesystem of ${path} can hold ${free.files} more`,
      {
        about: path,
        hint: `Remove files on the filesystem of ${path} (df -i ${path}). Nothing was fetched.`,
      },
    );
  }
}

/** Looks at the room while something is fetched: others write there, too. */
export class RoomWatch {
  private readonly path: string;
  private readonly onFull: (error: MosError) => void;
  private lookedAt = Number.NEGATIVE_INFINITY;

  /** @param onFull told once the reserve is touched */
  constructor(path: string, onFull: (error: MosError) => void) {
    this.path = path;
    this.onFull = onFull;
  }

  /** Looks, unless it did so a moment ago. */
  glance(): void {
    const now = performance.now();
    if (now - this.lookedAt < lookMs) return;
    this.lookedAt = now;
    this.check().catch(this.onFull);
  }

  /** @throws MosError `no-space` */
  async check(): Promise<void> {
    const { bytes } = await roomOn(this.path);
    if (bytes >= reserveBytes) return;
    throw new MosError(
      "no-space",
      `cannot go on fetching: ${formatBytes(reserveBytes)} must stay free, but ${this.path} has only ${formatBytes(bytes)} left`,
      {
        about: this.path,
        hint: `Something else fills the filesystem of ${this.path}. What was fetched so far is kept; the next update goes on there.`,
      },
    );
  }
}
