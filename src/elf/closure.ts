// All libraries that a program needs, found as its own loader would find them inside its own root (ld.so(8), "glibc";
// ldso/dynlink.c, musl). What a program would stop with at its start ("cannot open shared object file") is known
// when the image is built.
import { MosError } from "../errors/mos-error.ts";
import { type ElfFile, parseElf } from "./elf.ts";
import { inspectLoader, type Loader } from "./loader.ts";
import type { Found, RootTree } from "./root-tree.ts";

/** What is missing, in words, and where it was looked for. */
interface Unresolved {
  /** The file that needs it. */
  readonly by: string;
  readonly library: string;
  readonly problem: string;
}

export interface Closure {
  /** Paths in the root of the loader and all libraries, in the order in which they are found. */
  readonly files: readonly string[];
  readonly unresolved: readonly Unresolved[];
}

/** A loaded file, and the file whose need brought it: run paths of the old kind reach down that line. */
interface Loaded {
  readonly path: string;
  readonly elf: ElfFile;
  readonly neededBy: Loaded | undefined;
}

/** No program has near so many. */
const maxLibraries = 4096;

/** Directories of `$LIB` and names of `$PLATFORM` (ld.so(8)), which are fixed when a loader is built. */
const platforms: Readonly<Record<number, { readonly lib: readonly string[]; readonly platform: string }>> = {
  3: { lib: ["lib", "lib/i386-linux-gnu"], platform: "i686" },
  40: { lib: ["lib", "lib/arm-linux-gnueabihf"], platform: "v7l" },
  62: { lib: ["lib64", "lib/x86_64-linux-gnu", "lib"], platform: "x86_64" },
  183: { lib: ["lib64", "lib/aarch64-linux-gnu", "lib"], platform: "aarch64" },
  243: { lib: ["lib64", "lib/riscv64-linux-gnu", "lib"], platform: "riscv64" },
};

const directoryOf = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf("/")));

/** Directories of a run path, `$ORIGIN`, `$LIB` and `$PLATFORM` replaced; what is not absolute then is dropped. */
function expand(paths: readonly string[], { path, elf }: Loaded): string[] {
  const { lib = ["lib"], platform = "" } = platforms[elf.machine] ?? {};
  const expanded = paths.flatMap((one) =>
    lib.map((name) =>
      one.replace(/\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)\b)/g, (_, inBraces, bare) => {
        const word = inBraces ?? bare;
        return word === "ORIGIN" ? directoryOf(path) : word === "LIB" ? name : platform;
      }),
    ),
  );
  return [...new Set(expanded)].filter((one) => one.startsWith("/"));
}

class Search {
  private readonly root: RootTree;
  private readonly loader: Loader;
  private readonly libraryPath: readonly string[];
  private readonly kind: Pick<ElfFile, "bits" | "machine">;
  /** By the names that libraries were asked for, and by those that they call themselves. */
  private readonly byName = new Map<string, Loaded>();
  private readonly byPath = new Map<string, Loaded>();
  readonly unresolved: Unresolved[] = [];

  constructor(root: RootTree, loader: Loader, libraryPath: readonly string[], program: ElfFile) {
    this.root = root;
    this.loader = loader;
    this.libraryPath = libraryPath;
    this.kind = program;
  }

  get files(): string[] {
    return [this.loader.path, ...this.byPath.keys()].filter((path, i, all) => all.indexOf(path) === i);
  }

  /** Breadth first, as loaders do: what is nearer to the program gives a name its meaning. */
  run(program: Loaded): void {
    const queue = [program];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      for (const name of next.elf.needed) {
        if (this.loader.isItself(name) || this.byName.has(name)) continue;
        const library = this.load(name, next);
        if (library === undefined) continue;
        this.byName.set(name, library);
        if (library.elf.soname !== undefined && !this.byName.has(library.elf.soname))
          this.byName.set(library.elf.soname, library);
        if (this.byPath.has(library.path)) continue;
        this.byPath.set(library.path, library);
        if (this.byPath.size > maxLibraries) {
          throw new MosError(
            "program-malformed",
            `${program.path} needs more than ${maxLibraries} libraries`,
            {
              about: program.path,
            },
          );
        }
        queue.push(library);
      }
    }
    if (this.loader.kind === "glibc")
      for (const one of [program, ...this.byPath.values()]) this.checkVersions(one);
  }

  private load(name: string, by: Loaded): Loaded | undefined {
    const passed: string[] = [];
    for (const path of name.includes("/") ? [name] : this.candidates(name, by)) {
      const found = path.startsWith("/") ? this.root.find(path) : undefined;
      if (found?.kind !== "file") continue;
      const known = this.byPath.get(found.path);
      if (known !== undefined) return known;
      const elf = this.root.read(found, (file) => parseElf(file, found.path));
      if (elf.bits === this.kind.bits && elf.machine === this.kind.machine)
        return { path: found.path, elf, neededBy: by };
      if (!passed.includes(found.path)) passed.push(found.path);
    }
    const directories = [...new Set(this.candidates(name, by).map(directoryOf))].join(", ");
    const where = name.includes("/") ? "which is not there" : `which is in none of ${directories}`;
    const other = passed.length === 0 ? "" : ` (${passed.join(", ")} is for another kind of machine)`;
    this.unresolved.push({
      by: by.path,
      library: name,
      problem: `${by.path} needs ${name}, ${where}${other}`,
    });
    return undefined;
  }

  /** Paths at which a name is looked for, in order. */
  private candidates(name: string, by: Loaded): string[] {
    const { cache, directories } = this.loader;
    const before = this.loader.kind === "musl" ? this.muslPaths(by) : this.glibcPaths(by);
    const own = by.elf.noDefaultDirectories && this.loader.kind === "glibc" ? [] : directories;
    return [
      ...before.map((directory) => `${directory.replace(/\/+$/, "")}/${name}`),
      ...(cache.get(name) ?? []),
      ...own.map((directory) => `${directory.replace(/\/+$/, "")}/${name}`),
    ];
  }

  /** DT_RPATH of the file and of those that brought it, but none once a file has a DT_RUNPATH, which is its alone. */
  private glibcPaths(by: Loaded): string[] {
    const old: string[] = [];
    if (by.elf.runpath === undefined) {
      for (let one: Loaded | undefined = by; one !== undefined; one = one.neededBy)
        if (one.elf.runpath === undefined) old.push(...expand(one.elf.rpath ?? [], one));
    }
    return [...old, ...this.libraryPath, ...expand(by.elf.runpath ?? [], by)];
  }

  /** Both kinds of run path reach down, DT_RUNPATH before DT_RPATH. */
  private muslPaths(by: Loaded): string[] {
    const paths = [...this.libraryPath];
    for (let one: Loaded | undefined = by; one !== undefined; one = one.neededBy)
      paths.push(...expand(one.elf.runpath ?? one.elf.rpath ?? [], one));
    return paths;
  }

  /** glibc stops when a library has versions and not the one that is needed. */
  private checkVersions({ path, elf }: Loaded): void {
    for (const { library, versions } of elf.neededVersions) {
      const found = this.byName.get(library);
      if (found === undefined || found.elf.definedVersions.size === 0) continue;
      const missing = versions.filter((version) => !found.elf.definedVersions.has(version));
      if (missing.length === 0) continue;
      const problem = `${path} needs ${missing.join(", ")} of ${library}, which ${found.path} does not have: it is of another build`;
      this.unresolved.push({ by: path, library, problem });
    }
  }
}

/**
 * Finds everything that a program needs to start.
 * @param libraryPath LD_LIBRARY_PATH of its environment
 * @throws MosError `program-malformed`, `permission-denied`, `io-failed`
 */
export function closureOf(root: RootTree, program: Found, libraryPath: readonly string[]): Closure {
  const elf = root.read(program, (file) => parseElf(file, program.path));
  if (elf.interpreter === undefined) return { files: [], unresolved: [] };
  const found = elf.interpreter.startsWith("/") ? root.find(elf.interpreter) : undefined;
  if (found?.kind !== "file") {
    const problem = `${program.path} needs the loader ${elf.interpreter}, which is not there`;
    return { files: [], unresolved: [{ by: program.path, library: elf.interpreter, problem }] };
  }
  const loaderElf = root.read(found, (file) => parseElf(file, found.path));
  if (loaderElf.bits !== elf.bits || loaderElf.machine !== elf.machine) {
    const problem = `${program.path} needs the loader ${elf.interpreter}, which is for another kind of machine`;
    return { files: [], unresolved: [{ by: program.path, library: elf.interpreter, problem }] };
  }
  const loader = inspectLoader(root, elf.interpreter, found);
  const search = new Search(root, loader, libraryPath, elf);
  search.run({ path: program.path, elf, neededBy: undefined });
  return { files: search.files, unresolved: search.unresolved };
}
