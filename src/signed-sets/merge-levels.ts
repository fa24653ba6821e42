// Several levels of one configuration as one list. Pure.
import { MosError } from "../errors/mos-error.ts";
import type { Audience } from "./audience.ts";
import { levelName } from "./level-name.ts";
import { parentOf, type SetEntry } from "./set-manifest.ts";

/** One level that is for this device. */
export interface RankedLevel {
  readonly audience: Audience;
  /** Of two levels, the one with the higher rank wins. */
  readonly rank: number;
  readonly entries: readonly SetEntry[];
}

export interface MergedEntry<Level extends RankedLevel> {
  readonly entry: SetEntry;
  /** The level that it comes from. */
  readonly level: Level;
}

/** Removes what is in directories that are none any more. */
function removeBelow(merged: Map<string, unknown>, gone: ReadonlySet<string>): void {
  if (gone.size === 0) return;
  for (const path of [...merged.keys()]) {
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) {
      if (gone.has(above)) merged.delete(path);
    }
  }
}

/**
 * Merges levels: every path is as the highest level has it. A file or link of a higher level replaces a directory with
 * all that is in it, and a directory replaces a file.
 * @returns sorted by path
 * @throws MosError `set-conflict` when two levels have one rank, so that nothing says which of them wins
 */
export function mergeLevels<Level extends RankedLevel>(
  levels: readonly Level[],
): readonly MergedEntry<Level>[] {
  const ordered = levels.toSorted((a, b) => a.rank - b.rank);
  const merged = new Map<string, MergedEntry<Level>>();
  for (const [i, level] of ordered.entries()) {
    const before = ordered[i - 1];
    if (before?.rank === level.rank) {
      const names = [before, level].map(({ audience }) => levelName(audience)).sort();
      throw new MosError(
        "set-conflict",
        `cannot say which wins, ${names.join(" or ")}: they are for the same class`,
        {
          hint: "Sign one of them for another class, or both as one set.",
        },
      );
    }
    const files = level.entries.filter(({ type }) => type !== "directory");
    const gone = files.filter(({ path }) => merged.get(path)?.entry.type === "directory");
    removeBelow(merged, new Set(gone.map(({ path }) => path)));
    for (const entry of level.entries) merged.set(entry.path, { entry, level });
  }
  return [...merged.values()].sort((a, b) => (a.entry.path < b.entry.path ? -1 : 1));
}

/** Paths of files and links that each level provides. */
export function providedBy<Level extends RankedLevel>(
  merged: readonly MergedEntry<Level>[],
  level: Level,
): readonly string[] {
  return merged.flatMap(({ entry, level: from }) =>
    from === level && entry.type !== "directory" ? [entry.path] : [],
  );
}
