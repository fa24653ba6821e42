// Putting everything new of a set beside its place, each file checked while it is copied.
import { constants } from "node:fs";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { fromText } from "../signed-files/byte-path.ts";
import { digestFile } from "../signed-files/read-files.ts";
import type { OpenDirectory } from "../system/beneath.ts";
import { copyChecked } from "../system/copy-checked.ts";
import { createDirectory, createSymlink, openFile } from "../system/durable.ts";
import { clearStage } from "./apply.ts";
import type { Destination } from "./destination.ts";
import { refuseMixed } from "./read-set.ts";
import type { SetEntry } from "./set-manifest.ts";
import type { Step } from "./steps.ts";

const newFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** @returns what is wrong with the file in the set */
async function stageFile(
  source: string,
  entry: Extract<SetEntry, { type: "file" }>,
  at: string,
): Promise<string | undefined> {
  await using file = await openFile(at, newFile, 0o600);
  const digest = Buffer.from(entry.sha512, "hex");
  if (!(await copyChecked(source, file, digest, entry.size))) {
    return `${entry.path} has other content than listed`;
  }
  const { uid, gid } = await file.stat();
  if (uid !== entry.uid || gid !== entry.gid) await file.chown(entry.uid, entry.gid);
  await file.chmod(Number.parseInt(entry.mode, 8));
  await file.sync();
  return undefined;
}

/** Where the files of a set are. */
export interface SetSource {
  /** What an error is about. */
  readonly name: string;
  /** Where the file of a path is. */
  readonly of: (path: string) => string;
}

/** A set that lies in one directory. */
export function sourceIn(tree: string): SetSource {
  return { name: tree, of: (path) => join(tree, path) };
}

/** Puts everything new beside its place. @throws MosError `set-mixed` */
export async function stage(
  source: SetSource,
  destination: Destination,
  entries: readonly SetEntry[],
  steps: readonly Step[],
): Promise<void> {
  await destination.create();
  await clearStage(destination);
  const top = await destination.open("");
  if (top === undefined) throw new MosError("io-failed", "the destination is gone");
  await createDirectory(top.at(destination.stageName), 0o700);
  await top.sync();
  const directory: OpenDirectory | undefined = await destination.open(destination.stageName);
  if (directory === undefined) throw new MosError("io-failed", "the stage is gone");
  const problems: string[] = [];
  const staged = new Set<string>();
  for (const step of steps) {
    if (step.do !== "create" && step.do !== "replace") continue;
    const { entry } = step;
    staged.add(entry.path);
    const at = directory.at(step.staged);
    if (entry.type === "symlink") await createSymlink(entry.target, at);
    else if (entry.type === "file")
      problems.push(
        ...[await stageFile(source.of(entry.path), entry, at)].filter((why) => why !== undefined),
      );
  }
  // What is at its place already is not copied; in the set it has to be the same all the same.
  for (const entry of entries) {
    if (entry.type !== "file" || staged.has(entry.path)) continue;
    const digest = digestFile(fromText(source.of(entry.path)), false).toString("hex");
    if (digest !== entry.sha512) problems.push(`${entry.path} has other content than listed`);
  }
  refuseMixed(problems, source.name);
  await directory.sync();
}
