// One transaction at a time: an advisory lock that the kernel drops when its holder dies, whatever way it dies.
import { open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { makeDirectory } from "./atomic-file.ts";

/**
 * Runs `work` while holding the lock at `path`.
 * @param purpose what the holder does, shown to others who find it locked
 * @throws MosError `busy` naming the holder, and whatever `work` throws
 */
export async function withLock<T>(path: string, purpose: string, work: () => Promise<T>): Promise<T> {
  const { tryLockExclusive } = await import("./libc.ts");
  await makeDirectory(dirname(path));
  const handle = await open(path, "a", 0o600);
  try {
    if (!tryLockExclusive(handle.fd)) {
      const holder = (await readFile(path, "utf8")).trim();
      throw new MosError(
        "busy",
        `another transaction is running: ${holder === "" ? "its holder is not known yet" : holder}`,
        {
          about: path,
        },
      );
    }
    await handle.truncate(0);
    await handle.writeFile(`${purpose} (process ${process.pid}, since ${new Date().toISOString()})\n`);
    return await work();
  } finally {
    await handle.close();
  }
}
