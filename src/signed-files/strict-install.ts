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

/** One file. @returns whether it was written, and not there already */
async function install(run: Run, file: Verified, top: ByteText, force: boolean): Promise<boolean> {
  const { destination } = file;
  const inside = relativeTo(directoryOf(destination), top) ?? fromText("");
  const names = utf8(inside)
    .split("/")
    .filter((name) => name !== "");
  const name = utf8(baseName(destination));
  await using directory = await openBeneath(utf8(top), names, 0o755);
  const found = await present(directory.at(name), file);
  if (found === "same") {
    run.report.info(`File '${toText(destination)}' already exist, ignoring`);
    return false;
  }
  if (found === "no file" || (found === "other" && !force)) {
    const why = found === "other" ? "another file is there" : "what is there is no file";
    throw new MosError("signed-destination-unsafe", `cannot install '${toText(destination)}': ${why}`);
  }
  await place(directory, name, file);
  await directory.sync();
  run.report.info(`Installed file '${toText(destination)}'`);
  return true;
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
    for (const file of files) await install(run, file, top, force);
    return true;
  } catch (error) {
    const { code, message } = asMosError(error);
    run.report.problem(code, message);
    return false;
  }
}
