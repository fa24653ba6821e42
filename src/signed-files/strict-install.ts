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

async function place(directory: OpenDirectory, name: string, { path, content }: Verified): Promise<void> {
  const temporary = directory.at(`.${name}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    if (content.type === "symlink") {
      await createSymlink(utf8(content.target), temporary);
    } else {
      await using file = await openFile(temporary, newFile, 0o600);
      if (!(await copyChecked(toBytes(path), file, content.sha512))) {
        throw new MosError("signed-file-invalid", `${toText(path)} changed while it was installed`);
      }
      await file.chmod(0o644);
      await file.sync();
    }
    await rename(temporary, directory.at(name));
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
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

/** One file, unless it is there already. */
async function install(run: Run, file: Verified, directory: OpenDirectory, force: boolean): Promise<void> {
  const { destination } = file;
  const name = utf8(baseName(destination));
  const found = await present(directory.at(name), file);
  if (found === "same") return run.report.info(`File '${toText(destination)}' already exist, ignoring`);
  if (found === "no file" || (found === "other" && !force)) {
    const why = found === "other" ? "another file is there" : "what is there is no file";
    throw new MosError("signed-destination-unsafe", `cannot install '${toText(destination)}': ${why}`);
  }
  await place(directory, name, file);
  run.report.info(`Installed file '${toText(destination)}'`);
}

/** Writes files that were verified, all of them. @returns whether all went well; what did not was reported */
export async function installStrictly(
  run: Run,
  files: readonly Verified[],
  top: ByteText,
  force: boolean,
): Promise<boolean> {
  try {
    await makeDirectory(utf8(top));
    const target = new Target(utf8(top));
    try {
      for (const file of files) {
        const inside = relativeTo(directoryOf(file.destination), top) ?? fromText("");
        await install(run, file, await target.open(inside), force);
      }
    } finally {
      await target.leave();
    }
    return true;
  } catch (error) {
    const { code, message } = asMosError(error);
    run.report.problem(code, message);
    return false;
  }
}
