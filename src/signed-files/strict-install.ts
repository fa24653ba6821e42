// How files are written with --strict: beneath the destination without following links, each by rename, and durable.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { lstat, readlink } from "node:fs/promises";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { makeDirectory } from "../system/atomic-file.ts";
import { type OpenDirectory, openBeneath } from "../system/beneath.ts";
import { copyChecked } from "../system/copy-checked.ts";
import { createSymlink, openFile, rename, unlink } from "../system/durable.ts";
import {
  type ByteText,
  baseName,
  directoryOf,
  fromBytes,
  fromText,
  relativeTo,
  toBytes,
  toText,
} from "./byte-path.ts";
import type { Run } from "./engine.ts";
import type { Verified } from "./install.ts";
import { digestFile } from "./read-files.ts";

const newFile = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** The text of a path whose every byte counts. @throws MosError where it is not UTF-8 */
function utf8(path: ByteText): string {
  const text = toText(path);
  if (fromText(text) === path) return text;
  throw new MosError("signed-name-invalid", `cannot install ${text}: its name is not UTF-8`, { about: text });
}

/** What is at a destination: nothing, the very file, or something else that is or is not a file or link. */
async function present(at: string, { content }: Verified): Promise<"none" | "same" | "other" | "no file"> {
  const stat = await lstat(at).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (stat === undefined) return "none";
  if (stat.isSymbolicLink()) {
    if (content.type !== "symlink") return "other";
    return fromBytes(await readlink(at, { encoding: "buffer" })) === content.target ? "same" : "other";
  }
  if (!stat.isFile()) return "no file";
  if (content.type !== "regular") return "other";
  return digestFile(fromText(at), false).equals(content.sha512) ? "same" : "other";
}

/** Writes the content beside its place. @returns its name there */
async function stage(directory: OpenDirectory, name: string, { path, content }: Verified): Promise<string> {
  const temporary = `.${name}.${randomBytes(6).toString("hex")}.tmp`;
  const at = directory.at(temporary);
  try {
    if (content.type === "symlink") {
      await createSymlink(utf8(content.target), at);
    } else {
      await using file = await openFile(at, newFile, 0o600);
      if (!(await copyChecked(toBytes(path), file, content.sha512))) {
        throw new MosError("signed-file-invalid", `${toText(path)} changed while it was installed`);
      }
      await file.chmod(0o644);
      await file.sync();
    }
    return temporary;
  } catch (error) {
    await unlink(at).catch(() => undefined);
    throw error;
  }
}

/** The directory that files are written to, one after the other: open while it is the same, and durable when left. */
class Target {
  private readonly top: string;
  private last: { readonly path: ByteText; readonly directory: OpenDirectory } | undefined;

  constructor(top: string) {
    this.top = top;
  }

  /** @param inside path below the top */
  async open(inside: ByteText): Promise<OpenDirectory> {
    if (this.last?.path === inside) return this.last.directory;
    await this.leave();
    const names = utf8(inside).split("/");
    const directory = await openBeneath(
      this.top,
      names.filter((name) => name !== ""),
      0o755,
    );
    this.last = { path: inside, directory };
    return directory;
  }

  async leave(): Promise<void> {
    const { last } = this;
    this.last = undefined;
    if (last === undefined) return;
    await using directory = last.directory;
    await directory.sync();
  }
}

/** A file that has to be written: where, and under which name it lies beside its place. */
interface Staged {
  readonly file: Verified;
  readonly inside: ByteText;
  readonly temporary: string;
}

/** Whether a file has to be written. @throws MosError `signed-destination-unsafe` */
async function isWanted(
  run: Run,
  file: Verified,
  directory: OpenDirectory,
  force: boolean,
): Promise<boolean> {
  const { destination } = file;
  const found = await present(directory.at(utf8(baseName(destination))), file);
  if (found === "same") {
    run.report.info(`File '${toText(destination)}' already exist, ignoring`);
    return false;
  }
  if (found === "no file" || (found === "other" && !force)) {
    const why = found === "other" ? "another file is there" : "what is there is no file";
    throw new MosError("signed-destination-unsafe", `cannot install '${toText(destination)}': ${why}`);
  }
  return true;
}

async function discard(target: Target, staged: readonly Staged[]): Promise<void> {
  for (const { inside, temporary } of staged) {
    const directory = await target.open(inside).catch(() => undefined);
    if (directory !== undefined) await unlink(directory.at(temporary)).catch(() => undefined);
  }
}

/** Puts everything beside its place; what fails leaves nothing behind. */
async function stageAll(
  run: Run,
  files: readonly Verified[],
  top: ByteText,
  target: Target,
  force: boolean,
): Promise<readonly Staged[]> {
  const staged: Staged[] = [];
  try {
    for (const file of files) {
      const inside = relativeTo(directoryOf(file.destination), top) ?? fromText("");
      const directory = await target.open(inside);
      if (!(await isWanted(run, file, directory, force))) continue;
      const temporary = await stage(directory, utf8(baseName(file.destination)), file);
      staged.push({ file, inside, temporary });
    }
    return staged;
  } catch (error) {
    await discard(target, staged);
    throw error;
  }
}

/**
 * Writes files that were verified, all of them: each lies durably beside its place before the first name changes.
 * @returns whether all went well; what did not was reported
 */
export async function installStrictly(
  run: Run,
  files: readonly Verified[],
  top: ByteText,
  force: boolean,
): Promise<boolean> {
  const target = new Target(utf8(top));
  try {
    await makeDirectory(utf8(top));
    const staged = await stageAll(run, files, top, target, force);
    for (const [done, { file, inside, temporary }] of staged.entries()) {
      const directory = await target.open(inside);
      try {
        await rename(directory.at(temporary), directory.at(utf8(baseName(file.destination))));
      } catch (error) {
        await discard(target, staged.slice(done));
        throw error;
      }
      run.report.info(`Installed file '${toText(file.destination)}'`);
      run.report.installed?.(toText(file.destination));
    }
    return true;
  } catch (error) {
    const { code, message } = asMosError(error);
    run.report.problem(code, message);
    return false;
  } finally {
    await target.leave();
  }
}
