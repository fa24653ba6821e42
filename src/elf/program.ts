// Whether a program can start in a root: found by PATH as execvp(3) does, scripts followed to their interpreters as
// the kernel does (execve(2), "Interpreter scripts"), and of each program all libraries there.
import { MosError } from "../errors/mos-error.ts";
import { closureOf } from "./closure.ts";
import type { Found, RootTree } from "./root-tree.ts";

/** What is started, and in which surroundings. */
export interface Start {
  /** A path, or a name that is looked for in PATH. */
  readonly program: string;
  /** Each `NAME=value`. */
  readonly environment: readonly string[];
  /** Relative paths begin here; "/" when empty. */
  readonly workingDirectory: string;
}

/** What containers have when their image says nothing (OCI runtimes; the same as podman's and Docker's). */
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** BINPRM_BUF_SIZE (include/uapi/linux/binfmts.h): more of a script's first line the kernel does not read. */
const firstLineBytes = 256;
/** fs/exec.c: more interpreters of interpreters are ELOOP. */
const maxInterpreters = 5;

function variable(environment: readonly string[], name: string): string | undefined {
  return environment.findLast((one) => one.startsWith(`${name}=`))?.slice(name.length + 1);
}

function refuse(
  root: string,
  start: Start,
  problem: string,
  problems: readonly string[] = [],
  hint?: string,
): never {
  throw new MosError("program-unresolved", `cannot run ${start.program} in ${root}: ${problem}`, {
    about: start.program,
    problems,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The file that a name stands for; undefined when nothing is there that can be executed. */
function locate(root: RootTree, name: string, start: Start): Found | undefined {
  const base = start.workingDirectory === "" ? "/" : start.workingDirectory;
  const paths = name.includes("/")
    ? [name.startsWith("/") ? name : `${base}/${name}`]
    : (variable(start.environment, "PATH") ?? usualPath).split(":").map((directory) => {
        return directory.startsWith("/") ? `${directory}/${name}` : `${base}/${directory}/${name}`;
      });
  for (const path of paths) {
    const found = root.find(path);
    if (found?.kind === "file" && found.isExecutable) return found;
  }
  return undefined;
}

function headOf(root: RootTree, found: Found): string {
  return root.read(found, ({ read }) => Buffer.from(read(0, firstLineBytes)).toString("latin1"));
}

/** The words of a script's first line. */
function interpreterLine(head: string): readonly string[] {
  return (
    head
      .slice(2)
      .split("\n", 1)[0]
      ?.trim()
      .split(/[ \t]+/) ?? []
  );
}

/** `env [-S] [NAME=value …] PROGRAM`: the program, when the line is plain enough to tell. */
function programOfEnv(words: readonly string[]): string | undefined {
  if (!/(?:^|\/)env$/.test(words[0] ?? "")) return undefined;
  const rest = words.slice(1).filter((one) => one !== "-S" && !/^[A-Za-z_][A-Za-z0-9_]*=/.test(one));
  return rest[0]?.startsWith("-") ? undefined : rest[0]?.replace(/^-S/, "");
}

/** What helps most often when the loader's own directories are not where the library is. */
function advice(root: RootTree): string | undefined {
  if (root.find("/etc/ld.so.conf") === undefined || root.find("/etc/ld.so.cache") !== undefined)
    return undefined;
  return "If the library is in a directory of /etc/ld.so.conf, run ldconfig in that root: loaders read only its cache.";
}

function check(root: RootTree, name: string, start: Start, about: string, depth: number): Found[] {
  const found = locate(root, name, start);
  if (found === undefined) {
    return depth === 0
      ? refuse(about, start, "there is no such program")
      : refuse(about, start, `its interpreter ${name} is not there`);
  }
  const head = headOf(root, found);
  if (!head.startsWith("#!")) {
    // Neither a script nor ELF: whether a machine can run it (binfmt_misc) is not in the root.
    if (!head.startsWith("\x7fELF")) return [found];
    const closure = closureOf(root, found, libraryPath(start));
    const [first] = closure.unresolved;
    if (first === undefined) return [found];
    const problems = closure.unresolved.map(({ problem }) => problem);
    return refuse(
      about,
      start,
      `it needs ${first.library}, which that root does not have`,
      problems,
      advice(root),
    );
  }
  const words = interpreterLine(head);
  if (depth >= maxInterpreters) refuse(about, start, "its interpreters are scripts without end");
  const interpreter = words[0] ?? "";
  if (interpreter === "") refuse(about, start, `${found.path} names no interpreter after #!`);
  const inner = programOfEnv(words);
  return [
    found,
    ...check(root, interpreter, start, about, depth + 1),
    ...(inner === undefined ? [] : check(root, inner, start, about, depth + 1)),
  ];
}

function libraryPath({ environment }: Start): string[] {
  const given = variable(environment, "LD_LIBRARY_PATH") ?? "";
  return given.split(/[:;]/).filter((one) => one.startsWith("/"));
}

/**
 * Refuses a program that could not start in a root for want of something that it needs there.
 * @param about the root, as a person knows it
 * @returns paths in the root of the program and, for a script, of its interpreters
 * @throws MosError `program-unresolved`, with all that is missing and where it was looked for as its problems,
 * `program-malformed`, `permission-denied`, `io-failed`
 */
export function checkProgram(root: RootTree, start: Start, about: string): readonly string[] {
  return check(root, start.program, start, about, 0).map(({ path }) => path);
}
