// Stands between mos and src/system/durable.ts: sees every change to the disk before and after it is made, and can
// make it fail. setup.ts puts it there.
import { stat } from "node:fs/promises";
import type * as durable from "../../src/system/durable.ts";
import type { StateFile } from "../../src/system/durable.ts";

type Durable = typeof durable;

/** One system call. `file` numbers open files. */
export type Change =
  | { readonly kind: "open"; readonly path: string; readonly file: number; readonly mode: number }
  | { readonly kind: "write"; readonly file: number; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: "truncate"; readonly file: number; readonly length: number }
  | { readonly kind: "chmod"; readonly file: number; readonly mode: number }
  | { readonly kind: "chown"; readonly file: number }
  | { readonly kind: "sync"; readonly file: number }
  | { readonly kind: "close"; readonly file: number }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "exchange"; readonly path: string; readonly to: string }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "mkdir"; readonly path: string; readonly mode: number }
  | { readonly kind: "rmdir"; readonly path: string }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | { readonly kind: "chmod-directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "chown-directory"; readonly path: string }
  | { readonly kind: "sync-directory"; readonly path: string };

interface Probe {
  /** May throw: then the change is not made, and mos sees what is thrown. */
  readonly before?: (change: Change) => void;
  /** Told when it was made. */
  readonly after?: (change: Change) => void;
}

let probe: Probe = {};
let openFiles = 0;

/** Runs `work` with a probe in place. One at a time. */
export async function withProbe<T>(used: Probe, work: () => Promise<T>): Promise<T> {
  probe = used;
  try {
    return await work();
  } finally {
    probe = {};
  }
}

async function through<T>(change: Change, make: () => Promise<T>): Promise<T> {
  probe.before?.(change);
  const result = await make();
  probe.after?.(change);
  return result;
}

/** The layer with the probe before it. */
export function probed(real: Durable): Durable {
  return {
    openFile: async (path, flags, mode) => {
      const file = ++openFiles;
      return await through({ kind: "open", path, file, mode }, async () =>
        probedFile(await real.openFile(path, flags, mode), file),
      );
    },
    rename: (path, to) => through({ kind: "rename", path, to }, () => real.rename(path, to)),
    exchange: (path, to) => through({ kind: "exchange", path, to }, () => real.exchange(path, to)),
    unlink: (path) => through({ kind: "unlink", path }, () => real.unlink(path)),
    createDirectory: (path, mode) =>
      through({ kind: "mkdir", path, mode }, () => real.createDirectory(path, mode)),
    removeDirectory: (path) => through({ kind: "rmdir", path }, () => real.removeDirectory(path)),
    createSymlink: (target, path) =>
      through({ kind: "symlink", path, target }, () => real.createSymlink(target, path)),
    changeMode: (path, mode) =>
      through({ kind: "chmod-directory", path, mode }, () => real.changeMode(path, mode)),
    changeOwner: (path, uid, gid) =>
      through({ kind: "chown-directory", path }, () => real.changeOwner(path, uid, gid)),
    // On memory, where these tests run, an fsync has nothing to do; that it was asked for is what counts.
    syncDirectory: (path) => through({ kind: "sync-directory", path }, async () => void (await stat(path))),
  };
}

function probedFile(real: StateFile, file: number): StateFile {
  let end = 0;
  const close = () => through({ kind: "close", file }, () => real.close());
  return {
    fd: real.fd,
    stat: () => real.stat(),
    read: (buffer, offset, length, position) => real.read(buffer, offset, length, position),
    write: (source, offset, length, position) => {
      const bytes = Buffer.from(source.subarray(offset, offset + length));
      return through({ kind: "write", file, position, bytes }, () =>
        real.write(source, offset, length, position),
      );
    },
    writeFile: async (content) => {
      const bytes = Buffer.from(content);
      await through({ kind: "write", file, position: end, bytes }, () => real.writeFile(bytes));
      end += bytes.length;
    },
    truncate: (length) => through({ kind: "truncate", file, length }, () => real.truncate(length)),
    chmod: (mode) => through({ kind: "chmod", file, mode }, () => real.chmod(mode)),
    chown: (uid, gid) => through({ kind: "chown", file }, () => real.chown(uid, gid)),
    sync: () => through({ kind: "sync", file }, async () => undefined),
    close,
    [Symbol.asyncDispose]: close,
  };
}
