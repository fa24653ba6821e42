// The EFI system partition of the running system: found, listed, and changed step by step. FAT has no journal: a file
// is written under a name that no loader looks at, synced, and then renamed; each name is synced with its directory.
import { createHash } from "node:crypto";
import { readdir, readFile, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { discard, syncDirectory } from "../system/atomic-file.ts";
import { openFile, rename } from "../system/durable.ts";
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

async function write(directory: string, file: string, content: Uint8Array): Promise<void> {
  const partial = join(directory, `.mos-${file}.tmp`);
  try {
    const handle = await openFile(partial, "w", 0o600);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(partial, join(directory, file));
  } catch (error) {
    await discard(partial);
    throw error;
  }
}

/**
 * Takes steps, each of them durable before the next. What an interrupted write has left goes first.
 * @param content of the file that is written
 * @throws MosError `no-space`, `io-failed`, `permission-denied`
 */
export async function applySteps(
  { directory }: Pick<Esp, "directory">,
  steps: readonly Step[],
  content: Uint8Array = new Uint8Array(),
): Promise<void> {
  if (steps.length === 0) return;
  try {
    for (const file of await readdir(directory))
      if (temporary.test(file)) await discard(join(directory, file));
    for (const step of steps) {
      if (step.kind === "write") await write(directory, step.file, content);
      else if (step.kind === "remove") await discard(join(directory, step.file));
      else await rename(join(directory, step.from), join(directory, step.to));
      await syncDirectory(directory);
    }
  } catch (error) {
    throw asMosError(error, directory);
  }
}
