// `validator install`, first half: which files of the sources go where, and whether they may.
import { type ByteText, baseName, below, canonical, directoryOf, fromText, toText } from "./byte-path.ts";
import { absolute, type Naming, nameOf, type Run } from "./engine.ts";
import { type Kind, kindAt, kindBehind, namesIn } from "./read-files.ts";
import { codeOf, reasonOf } from "./report.ts";

/** What to install: one command line, or one configuration. */
export interface InstallOptions extends Naming {
  readonly sources: readonly ByteText[];
  readonly destination: ByteText;
  readonly recursive: boolean;
  /** Replace what is there. */
  readonly force: boolean;
}

/** A file, and where it goes. */
export interface Installable {
  readonly path: ByteText;
  /** What it has to be signed as. */
  readonly name: ByteText;
  readonly kind: "regular" | "symlink";
  readonly destination: ByteText;
}

/** Is given each file in turn. @returns whether it went well */
type Visit = (file: Installable) => boolean;

interface Tree {
  readonly run: Run;
  readonly base: ByteText;
  readonly prefix: ByteText | undefined;
  readonly visit: Visit;
}

function visitOne(tree: Tree, path: ByteText, destination: ByteText): boolean {
  const { run, base, prefix, visit } = tree;
  let kind: Kind;
  try {
    kind = kindAt(path);
    if (kind === "directory") return visitDirectory(tree, path, destination);
  } catch (error) {
    const code = codeOf(error, "signed-source-unusable");
    run.report.problem(code, `Can't access '${toText(path)}': ${reasonOf(error)}`);
    return false;
  }
  if (kind === "other") {
    run.report.problem("signed-source-unusable", `Unsupported file type for '${toText(path)}'`);
    return false;
  }
  const name = nameOf(run, path, base, prefix);
  return name !== undefined && visit({ path, name, kind, destination });
}

function visitDirectory(tree: Tree, directory: ByteText, destination: ByteText): boolean {
  let isWell = true;
  for (const name of namesIn(directory)) {
    if (name.endsWith(".sig")) continue;
    isWell = visitOne(tree, below(directory, name), below(destination, name)) && isWell;
  }
  return isWell;
}

function isAnything(path: ByteText): boolean {
  try {
    kindAt(path);
    return true;
  } catch {
    return false;
  }
}

/** @returns whether it went well */
function visitSource(run: Run, options: InstallOptions, path: ByteText, visit: Visit): boolean {
  const { report, strict } = run;
  const destination = absolute(run, options.destination);
  const unusable = (why: string): boolean => {
    report.problem("signed-source-unusable", `Can't install '${toText(path)}': ${why}`);
    return false;
  };
  const { prefix, relativeTo } = options;
  const kind = kindBehind(path);
  if (kind === "directory") {
    if (!options.recursive) {
      const text = `error: '${toText(path)}' is a directory and not in recursive mode`;
      report.problem("signed-source-unusable", text);
      return !strict;
    }
    try {
      return visitDirectory({ run, base: relativeTo ?? path, prefix, visit }, path, destination);
    } catch (error) {
      return unusable(reasonOf(error));
    }
  }
  if (kind === "regular") {
    // What names are relative to counts for directories only; strictly for files as well.
    const base = (strict ? relativeTo : undefined) ?? directoryOf(path);
    return visitOne({ run, base, prefix, visit }, path, below(destination, baseName(path)));
  }
  if (!strict) return true;
  if (kind !== undefined) return unusable("it is no file and no directory");
  if (isAnything(path)) return unusable("it is a link to nothing");
  report.problem("signed-source-missing", `Can't install '${toText(path)}': nothing is there`);
  return false;
}

/**
 * Goes through the files of the sources. What validator passes over in silence (a source that is not there, or is a
 * link to nothing) or reports without failing (a directory without --recursive) is strictly a failure.
 */
export function forEachInstallable(run: Run, options: InstallOptions, visit: Visit): boolean {
  let isWell = true;
  for (const source of options.sources) {
    isWell = visitSource(run, options, absolute(run, source), visit) && isWell;
  }
  return isWell;
}

/**
 * Strictly, a link leads to one of the files that are installed with it, or to a directory with some of them, by a
 * relative path. @returns why one does not
 */
export function linkProblem(
  destination: ByteText,
  target: ByteText,
  installed: ReadonlySet<ByteText>,
): string | undefined {
  if (target.startsWith("/")) return "its target is absolute";
  const place = canonical(below(directoryOf(destination), target), fromText("/"));
  return installed.has(place) ? undefined : "its target is not installed with it";
}

/** The destinations of files, and all directories above them up to a given one, without it. */
export function placesOf(destinations: readonly ByteText[], top: ByteText): ReadonlySet<ByteText> {
  const places = new Set<ByteText>();
  for (const destination of destinations) {
    for (let at = destination; at !== top && !places.has(at) && at !== "/"; at = directoryOf(at))
      places.add(at);
  }
  return places;
}
