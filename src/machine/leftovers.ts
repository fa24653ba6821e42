// What a killed run leaves behind (a namespace's name, a directory) carries the run's process id in its name, so
// that the next run can tell it from what a living run still uses, and remove it.
import { existsSync } from "node:fs";

const prefix = "mos-machine";

/** A name that says which process it belongs to. @param unique tells it from others of this process */
export function ownedName(unique: string): string {
  return `${prefix}-${process.pid}-${unique}`;
}

/**
 * Removes those of `names` that belong to processes which are no more; other names are left alone, and so is what cannot be
 * removed: another run may be doing that in the same instant, and the next one tries again.
 */
export async function sweep(
  names: readonly string[],
  remove: (name: string) => Promise<void>,
): Promise<void> {
  for (const name of names) {
    const owner = new RegExp(`^${prefix}-([0-9]+)-`).exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) await remove(name).catch(() => undefined);
  }
}
