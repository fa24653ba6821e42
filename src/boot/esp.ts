// The EFI system partition of the running system: found, listed, and changed step by step.
import { createHash } from "node:crypto";
import { readdir, readFile, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { namedRoot } from "./command-line.ts";
import { type Entry, parseEntryName, type Step } from "./esp-entries.ts";
import { ukiFacts } from "./uki-facts.ts";

/** Where systemd-boot looks for images ("Boot Loader Specification", type 2). */
const imageDirectory = "EFI/Linux";
const temporary = /^\.mos-.*\.tmp$/;
/** A kernel image with its initrd; what is larger is none of ours. */
const maxImageBytes = 256 * 1024 * 1024;

export interface Esp {
  /** Directory of the images. */
  readonly directory: string;
  /** Images of mos. */
  readonly entries: readonly Entry[];
  /** Names of other files. */
  readonly foreign: readonly string[];
  /** Bytes. */
  readonly free: number;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

async function readEntry(directory: string, file: string): Promise<Entry | undefined> {
  const name = parseEntryName(file);
  if (name === undefined) return undefined;
  const path = join(directory, file);
  const { size } = await stat(path);
  if (size > maxImageBytes) return undefined;
  const bytes = await readFile(path);
  try {
    const facts = ukiFacts(bytes, path);
    if (namedRoot(facts.commandLine) === undefined) return undefined;
    return { file, ...name, ...facts, bytes: size, digest: createHash("sha256").update(bytes).digest("hex") };
  } catch (error) {
    // Another system's, or half of one: not ours to judge.
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

/**
 * Looks at the partition where it is mounted.
 * @param places mount points, the first that has images counts
 * @throws MosError `esp-missing`, `io-failed`
 */
export async function readEsp(places: readonly string[]): Promise<Esp> {
  for (const place of places) {
    const directory = join(place, imageDirectory);
    if (!(await isDirectory(directory))) continue;
    try {
      const entries: Entry[] = [];
      const foreign: string[] = [];
      for (const file of (await readdir(directory)).sort()) {
        if (temporary.test(file)) continue;
        const entry = await readEntry(directory, file);
        if (entry === undefined) foreign.push(file);
        else entries.push(entry);
      }
      const { bavail, bsize } = await statfs(directory);
      return { directory, entries, foreign, free: bavail * bsize };
    } catch (error) {
      throw asMosError(error, directory);
    }
  }
  throw new MosError("esp-missing", `cannot find the kernel images of the EFI system partition`, {
    about: places.join(", "),
  });
}

/** Runs a program of mos outside the agent's sandbox. */
type RunOnce = (program: string, ...args: string[]) => Promise<void>;

/** Takes steps (packaging/boot/esp-steps). */
const program = "/usr/lib/mos/esp-steps";

/**
 * Takes steps, each of them durable before the next. What an interrupted write has left goes first.
 * @param content file with what is written
 * @throws MosError `io-failed`, `program-missing`
 */
export async function applySteps(
  runOnce: RunOnce,
  { directory }: Pick<Esp, "directory">,
  steps: readonly Step[],
  content = "",
): Promise<void> {
  if (steps.length === 0) return;
  const words = steps.flatMap((step) => {
    if (step.kind === "write") return [step.kind, step.file, content];
    return step.kind === "remove" ? [step.kind, step.file] : [step.kind, step.from, step.to];
  });
  try {
    await runOnce(program, directory, ...words);
  } catch (error) {
    const known = asMosError(error, directory);
    if (known.code !== "program-failed") throw known;
    throw new MosError("io-failed", `cannot change the kernel images in ${directory}: ${known.message}`, {
      about: directory,
      problems: known.problems,
      cause: error,
    });
  }
}
