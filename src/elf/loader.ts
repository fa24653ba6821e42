// Where a root's own dynamic loader looks for libraries that nothing else says the place of: glibc (ld.so(8)) has
// directories built in, other ones with each distribution, and a cache; musl (ldso/dynlink.c) has a file of paths.
import { parseLoaderCache } from "./loader-cache.ts";
import type { FileBytes, Found, RootTree } from "./root-tree.ts";

export interface Loader {
  readonly path: string;
  readonly kind: "glibc" | "musl";
  /** Directories that are searched last. */
  readonly directories: readonly string[];
  /** Paths by name; searched before the directories. */
  readonly cache: ReadonlyMap<string, readonly string[]>;
  /** Whether the loader is itself the library of this name. */
  readonly isItself: (name: string) => boolean;
}

const maxLoaderBytes = 16 * 1024 * 1024;
const maxPathFileBytes = 64 * 1024;
const maxCacheBytes = 64 * 1024 * 1024;

/** elf/dl-load.c: `system_dirs`, directories that each end in a slash and a NUL, one after the other. */
const builtIn = /(?:\/[\x21-\x7e]*\/\0){2,}/;
/** For a loader that does not show them: what the installed base has in common. */
const usual = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/** ldso/dynlink.c: when there is no file of paths. */
const muslUsual = ["/lib", "/usr/local/lib", "/usr/lib"];
/** ldso/dynlink.c: `reserved`; names behind "lib" that musl is itself. */
const muslItself = /^lib(?:c|pthread|rt|m|dl|util|xnet)\./;

const whole = (limit: number) => (file: FileBytes) =>
  Buffer.from(file.read(0, Math.min(file.size, limit))).toString("latin1");

function readText(root: RootTree, path: string, limit: number): string | undefined {
  const found = root.find(path);
  return found?.kind === "file" ? root.read(found, whole(limit)) : undefined;
}

function musl(root: RootTree, path: string, architecture: string): Loader {
  const listed = readText(root, `/etc/ld-musl-${architecture}.path`, maxPathFileBytes);
  return {
    path,
    kind: "musl",
    directories: listed === undefined ? muslUsual : listed.split(/[:\n]/).filter((one) => one !== ""),
    cache: new Map(),
    isItself: (name) => muslItself.test(name),
  };
}

/**
 * How a loader looks for libraries.
 * @param asked the path by which a program asks for it: musl's name tells
 * @throws MosError `program-malformed` (the cache), `permission-denied`, `io-failed`
 */
export function inspectLoader(root: RootTree, asked: string, found: Found): Loader {
  const architecture = /\/ld-musl-([A-Za-z0-9_-]+)\.so\.1$/.exec(asked)?.[1];
  if (architecture !== undefined) return musl(root, found.path, architecture);
  const directories = builtIn.exec(root.read(found, whole(maxLoaderBytes)))?.[0].split("\0");
  const cache = root.find("/etc/ld.so.cache");
  return {
    path: found.path,
    kind: "glibc",
    directories: directories?.filter((one) => one !== "").map((one) => one.slice(0, -1)) ?? usual,
    cache:
      cache?.kind === "file"
        ? root.read(cache, (file) =>
            parseLoaderCache(file.read(0, Math.min(file.size, maxCacheBytes)), cache.path),
          )
        : new Map(),
    isItself: () => false,
  };
}
