// Directories below a given one, opened name by name without following a link (openat(2) with O_NOFOLLOW), so that no
// link planted meanwhile leads elsewhere. What is in an open directory is reached by its descriptor, through /proc.
import { constants } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { createDirectory, syncDirectory } from "./durable.ts";

/** An open directory. */
export interface OpenDirectory {
  /** Path of something in it, for as long as it is open. */
  readonly at: (name: string) => string;
  /** Makes its names durable. */
  readonly sync: () => Promise<void>;
  readonly close: () => Promise<void>;
  readonly [Symbol.asyncDispose]: () => Promise<void>;
}

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** proc(5): a descriptor of this process as a path. */
function pathOf({ fd }: FileHandle): string {
  return `/proc/self/fd/${fd}`;
}

function opened(handle: FileHandle): OpenDirectory {
  const close = (): Promise<void> => handle.close();
  return {
    at: (name) => `${pathOf(handle)}/${name}`,
    sync: () => syncDirectory(`${pathOf(handle)}/.`),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function step(parent: FileHandle, name: string, create: number | undefined): Promise<FileHandle> {
  const path = `${pathOf(parent)}/${name}`;
  try {
    return await open(path, directoryFlags);
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || create === undefined) throw error;
  }
  try {
    await createDirectory(path, create);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
  await syncDirectory(`${pathOf(parent)}/.`);
  return await open(path, directoryFlags);
}

/**
 * Opens a directory.
 * @param top where to begin; links on the way to it are followed
 * @param names the way from there, none of them `..`
 * @param create mode of the directories that are made where there are none; undefined makes none
 * @throws MosError `signed-destination-unsafe` for a link or a file on the way, or the system's error
 */
export async function openBeneath(
  top: string,
  names: readonly string[],
  create?: number,
): Promise<OpenDirectory> {
  let handle = await open(top, constants.O_RDONLY | constants.O_DIRECTORY);
  for (const [i, name] of names.entries()) {
    const parent = handle;
    try {
      handle = await step(parent, name, create);
    } catch (error) {
      const code = systemCode(error);
      if (code !== "ENOTDIR" && code !== "ELOOP") throw error;
      const path = [top === "/" ? "" : top, ...names.slice(0, i + 1)].join("/");
      const what = await lstat(`${pathOf(parent)}/${name}`).then(
        (stat) => (stat.isSymbolicLink() ? "a link" : "no directory"),
        () => "no directory",
      );
      throw new MosError("signed-destination-unsafe", `cannot write below ${path}: it is ${what}`, {
        about: path,
        cause: error,
      });
    } finally {
      await parent.close();
    }
  }
  return opened(handle);
}
