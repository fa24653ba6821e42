// What has to be done at a destination so that it holds a set. Pure: from the list, what belonged to the set before,
// and what is there now, to steps that can each be repeated and taken back (apply.ts).
import * as z from "zod";
import { entriesSchema, type SetEntry } from "./set-manifest.ts";

const entrySchema = entriesSchema.element;
const modes = z.strictObject({ mode: z.int(), uid: z.int(), gid: z.int() });
export type Ownership = z.infer<typeof modes>;
/** Name of a staged file. */
const staged = z.string().regex(/^[0-9]{1,8}$/);

export const stepSchema = z.discriminatedUnion("do", [
  /** A file or link goes to the stage. */
  z.strictObject({ do: z.literal("remove"), path: z.string(), staged }),
  /** A directory goes; `keep`: it may stay when others have put something there. */
  z.strictObject({ do: z.literal("rmdir"), path: z.string(), was: modes, keep: z.boolean() }),
  z.strictObject({ do: z.literal("mkdir"), path: z.string(), as: modes }),
  z.strictObject({ do: z.literal("change"), path: z.string(), was: modes, as: modes }),
  /** A staged file or link comes where nothing is. */
  z.strictObject({ do: z.literal("create"), path: z.string(), staged, entry: entrySchema }),
  /** A staged file or link changes places with what is there. */
  z.strictObject({ do: z.literal("replace"), path: z.string(), staged, entry: entrySchema }),
]);
export type Step = z.infer<typeof stepSchema>;

/** What is at a path of the destination. */
export interface Live {
  readonly kind: "none" | "file" | "symlink" | "directory" | "other";
  /** Whether it is what an entry says. */
  readonly isAsListed: boolean;
  readonly ownership: Ownership;
}

/** Mode and owner of an entry. */
export function ownershipOf(entry: Exclude<SetEntry, { type: "symlink" }>): Ownership {
  return { mode: Number.parseInt(entry.mode, 8), uid: entry.uid, gid: entry.gid };
}

interface Planned {
  readonly steps: readonly Step[];
  /** Paths of what would be lost, though it never belonged to the set. */
  readonly conflicts: readonly string[];
}

class Planning {
  readonly removals: Step[] = [];
  readonly goingDirectories: Step[] = [];
  readonly directories: Step[] = [];
  readonly files: Step[] = [];
  readonly conflicts: string[] = [];
  private count = 0;

  private stage(): string {
    return String(this.count++);
  }

  remove(path: string): void {
    this.removals.push({ do: "remove", path, staged: this.stage() });
  }

  directory(
    entry: Extract<SetEntry, { type: "directory" }>,
    live: Live,
    isFree: boolean,
    mayChange: boolean,
  ): void {
    const { path } = entry;
    const as = ownershipOf(entry);
    if (live.kind === "none" || isFree) this.directories.push({ do: "mkdir", path, as });
    else if (live.kind !== "directory" || !mayChange) this.conflicts.push(path);
    else this.directories.push({ do: "change", path, was: live.ownership, as });
  }

  file(
    entry: Exclude<SetEntry, { type: "directory" }>,
    live: Live,
    isFree: boolean,
    mayReplace: boolean,
  ): void {
    const { path } = entry;
    if (live.kind === "none" || isFree) this.files.push({ do: "create", path, staged: this.stage(), entry });
    else if (live.kind === "directory" || live.kind === "other" || !mayReplace) this.conflicts.push(path);
    else this.files.push({ do: "replace", path, staged: this.stage(), entry });
  }
}

/**
 * @param listed what is to be there
 * @param owned what belonged to the set before
 * @param live what is at each path of either
 * @param force replace what never belonged to the set
 */
export function planSteps(
  listed: readonly SetEntry[],
  owned: readonly SetEntry[],
  live: (path: string) => Live,
  force: boolean,
): Planned {
  const planning = new Planning();
  const wanted = new Map(listed.map((entry) => [entry.path, entry]));
  const ours = new Map(owned.map((entry) => [entry.path, entry]));
  /** Paths that are free once what was ours there is gone. */
  const free = new Set<string>();
  for (const { path } of owned.toReversed()) {
    const there = live(path);
    const next = wanted.get(path);
    const isFile = there.kind === "file" || there.kind === "symlink";
    const isDirectory = there.kind === "directory";
    if (isFile && (next === undefined || next.type === "directory")) {
      planning.remove(path);
      free.add(path);
    } else if (isDirectory && next?.type !== "directory") {
      const keep = next === undefined;
      planning.goingDirectories.push({ do: "rmdir", path, was: there.ownership, keep });
      free.add(path);
    }
  }
  for (const entry of listed) {
    const there = live(entry.path);
    if (there.isAsListed) continue;
    const isFree = free.has(entry.path);
    const mayChange = force || ours.has(entry.path);
    if (entry.type === "directory") planning.directory(entry, there, isFree, mayChange);
    else planning.file(entry, there, isFree, mayChange);
  }
  const { removals, goingDirectories, directories, files, conflicts } = planning;
  return { steps: [...removals, ...goingDirectories, ...directories, ...files], conflicts };
}
