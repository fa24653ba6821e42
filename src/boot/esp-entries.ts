// Unified kernel images in the EFI system partition and what has to be done with them, as plans of single steps: pure.
// systemd-boot takes the newest that is not known to be bad, and counts how often it was tried in its name: "Automatic
// Boot Assessment" of systemd. Each step is one change of one name, so that a power cut lies between two of them; every
// plan can be made anew from what is there then.
import { MosError } from "../errors/mos-error.ts";
import { namedRoot } from "./command-line.ts";
import { compareVersions } from "./version-order.ts";

/** A unified kernel image of a device of mos: its signed command line names a verified root. */
export interface Entry {
  /** Name in the directory of images. */
  readonly file: string;
  /** The name without counters and ending; it stays. */
  readonly base: string;
  /** Tries that are left; undefined for one that is known to be good, 0 for one that is bad. */
  readonly left: number | undefined;
  readonly done: number;
  readonly commandLine: string;
  /** SHA-256 of the file. */
  readonly digest: string;
  readonly bytes: number;
  /** IMAGE_ID and IMAGE_VERSION, by which the loader sorts. */
  readonly imageId: string;
  readonly imageVersion: string;
}

/** One change of a directory of images. */
export type Step =
  | { readonly kind: "write"; readonly file: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "remove"; readonly file: string };

export interface EntryName {
  readonly base: string;
  readonly left: number | undefined;
  readonly done: number;
}

/** Takes a name apart; undefined when it is none of an image. */
export function parseEntryName(file: string): EntryName | undefined {
  const [, base, left, done] = /^([^+][^/]*?)(?:\+([0-9]{1,3})(?:-([0-9]{1,3}))?)?\.efi$/i.exec(file) ?? [];
  if (base === undefined) return undefined;
  return { base, left: left === undefined ? undefined : Number(left), done: Number(done ?? 0) };
}

/** A name with its counters. @param left undefined for an image that is known to be good */
export function entryName(base: string, left: number | undefined, done = 0): string {
  const counters = left === undefined ? "" : `+${left}${done === 0 ? "" : `-${done}`}`;
  return `${base}${counters}.efi`;
}

/** Known to be bad: the loader takes it only when there is nothing else. */
function isBad({ left }: Pick<Entry, "left">): boolean {
  return left === 0;
}

function renamed(entry: Entry, left: number | undefined, done = 0): Step[] {
  const to = entryName(entry.base, left, done);
  return to === entry.file ? [] : [{ kind: "rename", from: entry.file, to }];
}

/**
 * Whether the loader prefers the first, both being good or both bad (boot_entry_compare() of systemd-boot: the sort key,
 * which is IMAGE_ID, and the newer version). Of two that are equal it takes neither for sure: see {@link baseOf}.
 */
function isBefore(one: Pick<Entry, "imageId" | "imageVersion">, other: typeof one): boolean {
  if (one.imageId !== other.imageId) return one.imageId < other.imageId;
  return compareVersions(one.imageVersion, other.imageVersion) > 0;
}

/** An image that is to be started next. */
export interface NewEntry
  extends Pick<Entry, "commandLine" | "digest" | "bytes" | "imageId" | "imageVersion"> {
  readonly tries: number;
}

interface InstallQuestion {
  readonly entries: readonly Entry[];
  /** Names of files that are somebody else's. */
  readonly foreign: readonly string[];
  readonly next: NewEntry;
  /** Of the image that has started the system. */
  readonly booted: Entry;
  /** Bytes that are free. */
  readonly free: number;
}

/** Beside the image itself: what the file system takes for the names, and something for its own. */
const spare = 1024 * 1024;

/**
 * Where the new image goes: a name that nobody else has. Of equal versions the loader prefers the name that it takes for
 * the newer one, and "~" makes a name older: when all tries are used up, the one before has to be the better.
 */
function baseOf({ entries, foreign, next }: InstallQuestion): string {
  const base = `${next.imageId}_${next.imageVersion}`;
  const taken =
    entries.some((entry) => entry.base === base && entry.digest !== next.digest) ||
    foreign.some((file) => parseEntryName(file)?.base === base);
  return taken ? `${base}~${next.digest.slice(0, 8)}` : base;
}

/**
 * What has to be done so that the next start is the new image's, as often as it may be tried, and the running one's
 * after that. The running image keeps its file; where the loader would prefer it or another one, that is marked bad.
 * @throws MosError `esp-full`
 */
export function planInstall(question: InstallQuestion): {
  readonly base: string;
  readonly steps: readonly Step[];
} {
  const { entries, next, booted, free } = question;
  const base = baseOf(question);
  const there = entries.find((entry) => entry.base === base && entry.digest === next.digest);
  const others = entries.filter((entry) => entry !== there);
  const steps: Step[] = [];
  if (there === undefined) {
    let room = free;
    const wanted = next.bytes + spare;
    // Bad ones first, then the oldest: each of them is in the store, or was given up.
    const going = others
      .filter(({ file }) => file !== booted.file)
      .sort((a, b) => Number(isBad(b)) - Number(isBad(a)) || compareVersions(a.imageVersion, b.imageVersion));
    for (const entry of going) {
      if (room >= wanted) break;
      steps.push({ kind: "remove", file: entry.file });
      room += entry.bytes;
    }
    if (room < wanted) {
      throw new MosError(
        "esp-full",
        `cannot put the new kernel image into the EFI system partition: it needs ${wanted} bytes, and ${room} are free`,
        { about: base },
      );
    }
    steps.push({ kind: "write", file: entryName(base, next.tries) });
  } else steps.push(...renamed(there, next.tries));
  const gone = new Set(steps.flatMap((step) => (step.kind === "remove" ? [step.file] : [])));
  // Where the running one is marked bad, it has to be the best of those: no other may be left that is good.
  const isNewest = isBefore(next, booted);
  for (const entry of others) {
    if (gone.has(entry.file) || isBad(entry)) continue;
    const stays = isNewest && isBefore(next, entry) && !isBefore(entry, booted);
    if (!stays) steps.push(...renamed(entry, 0, Math.max(1, entry.done)));
  }
  return { base, steps };
}

/** The image that runs is known to be good: from now on it is not counted. */
export function planBless(booted: Entry): readonly Step[] {
  return renamed(booted, undefined);
}

/**
 * What runs is given up: the next start is of what ran before. First that one counts as good again, and then the other
 * as bad, so that there always is one that is not.
 */
export function planGoBack(booted: Entry, before: Entry): readonly Step[] {
  return [...renamed(before, undefined), ...renamed(booted, 0, Math.max(1, booted.done))];
}

/**
 * Another image is not to be started next any more, and the one that runs is good, whatever it was marked as.
 * @param keeps that other image was good once and stays, behind the one that runs
 */
export function planWithdraw(
  entries: readonly Entry[],
  booted: Entry,
  commandLine: string,
  keeps: boolean,
): readonly Step[] {
  const others = entries.filter((entry) => entry.commandLine === commandLine && entry.file !== booted.file);
  const aside = others.flatMap((entry): readonly Step[] => {
    if (!keeps) return [{ kind: "remove", file: entry.file }];
    if (isBad(entry)) return [];
    return isBefore(booted, entry) ? renamed(entry, undefined) : renamed(entry, 0, Math.max(1, entry.done));
  });
  return [...planBless(booted), ...aside];
}

/** Images of roots in the store that no generation needs. Never the one that runs, nor one with its root in a partition. */
export function planCleanup(
  entries: readonly Entry[],
  booted: Entry,
  wanted: (commandLine: string) => boolean,
): readonly Step[] {
  return entries
    .filter(({ file }) => file !== booted.file)
    .filter(({ commandLine }) => namedRoot(commandLine)?.stored !== undefined && !wanted(commandLine))
    .map(({ file }) => ({ kind: "remove", file }));
}

/** What became of an image that was to be started next, when another one runs. */
export function fateOf(entries: readonly Entry[], commandLine: string): "missing" | "waiting" | "failed" {
  const found = entries.filter((entry) => entry.commandLine === commandLine);
  if (found.length === 0) return "missing";
  return found.some(({ left, done }) => left === undefined || (left > 0 && done === 0))
    ? "waiting"
    : "failed";
}
