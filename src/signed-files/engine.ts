// What sign, validate, install and blob have in common: what a file is signed as, and going through a tree.
import {
  type ByteText,
  baseName,
  below,
  canonical,
  directoryOf,
  relativeTo,
  signedName,
  toText,
} from "./byte-path.ts";
import { digestFile, type Kind, kindAt, kindBehind, linkTarget, namesIn } from "./read-files.ts";
import { codeOf, type Report, reasonOf } from "./report.ts";
import type { SignedContent } from "./signature-file.ts";

/** What every command runs in. */
export interface Run {
  /** Absolute. */
  readonly cwd: ByteText;
  /** Whether what validator lets pass in silence is a problem. */
  readonly strict: boolean;
  readonly report: Report;
}

/** What says which names files are signed under. */
export interface Naming {
  /** Absolute and canonical; by default each argument has its own. */
  readonly relativeTo: ByteText | undefined;
  readonly prefix: ByteText | undefined;
}

/** A file of a tree. */
interface Found {
  readonly path: ByteText;
  /** What it is signed as. */
  readonly name: ByteText;
  readonly kind: "regular" | "symlink";
}

/** The absolute path of an argument. */
export function absolute({ cwd }: Run, argument: ByteText): ByteText {
  return canonical(argument, cwd);
}

/** What a file is signed as; undefined when it was reported that it has no name. */
export function nameOf(
  run: Run,
  path: ByteText,
  base: ByteText,
  prefix: ByteText | undefined,
): ByteText | undefined {
  const inside = relativeTo(path, base);
  if (inside === undefined || (run.strict && inside === "")) {
    run.report.problem("signed-name-invalid", `File '${toText(path)}' not inside relative dir`);
    return undefined;
  }
  return signedName(inside, prefix);
}

/** What of a file is signed. @throws the system's error */
export function contentOf(path: ByteText, kind: "regular" | "symlink", follow: boolean): SignedContent {
  if (kind === "symlink") return { type: "symlink", target: linkTarget(path) };
  return { type: "regular", sha512: digestFile(path, follow) };
}

/** What a walk through a tree needs of whoever walks. */
interface Walk {
  readonly run: Run;
  readonly base: ByteText;
  readonly prefix: ByteText | undefined;
  /** @returns whether it went well */
  readonly visit: (found: Found) => boolean;
  /** What is said of pipes, sockets and devices. */
  readonly unsupported: (path: string) => string;
}

function walk(context: Walk, path: ByteText): boolean {
  const { run, base, prefix, visit, unsupported } = context;
  let kind: Kind;
  try {
    kind = kindAt(path);
    if (kind === "directory") return walkDirectory(context, path, namesIn(path));
  } catch (error) {
    const code = codeOf(error, "signed-source-unusable");
    run.report.problem(code, `Can't access '${toText(path)}': ${reasonOf(error)}`);
    return false;
  }
  if (kind === "other") {
    run.report.problem("signed-source-unusable", unsupported(toText(path)));
    return false;
  }
  const name = nameOf(run, path, base, prefix);
  return name !== undefined && visit({ path, name, kind });
}

function walkDirectory(context: Walk, directory: ByteText, names: readonly ByteText[]): boolean {
  const { run } = context;
  let isWell = true;
  if (run.strict && !names.some((name) => !name.endsWith(".sig"))) {
    run.report.problem("signed-source-unusable", `There is nothing to sign in '${toText(directory)}'`);
    isWell = false;
  }
  for (const name of names) {
    const path = below(directory, name);
    if (name.endsWith(".sig")) isWell = !run.strict || isSignature(run, path, names) ? isWell : false;
    else isWell = walk(context, path) && isWell;
  }
  return isWell;
}

/** Whether a name that ends in `.sig` is what it looks like: a file beside the one it is for. */
function isSignature({ report }: Run, path: ByteText, names: readonly ByteText[]): boolean {
  const signed = baseName(path).slice(0, -".sig".length);
  if (kindAt(path) === "regular" && names.some((name) => name === signed)) return true;
  report.problem("signed-file-unsigned", `'${toText(path)}' is passed over, and is no signature of a file`);
  return false;
}

/**
 * Goes through files and, where asked for, directories; a problem of one does not stop the others.
 * @returns whether all went well
 */
export function forEachFile(
  run: Run,
  args: readonly ByteText[],
  options: { readonly recursive: boolean } & Naming,
  on: Pick<Walk, "visit" | "unsupported">,
): boolean {
  let isWell = true;
  for (const argument of args) {
    const path = absolute(run, argument);
    // A link to a directory counts as one here, and is a link when it comes to signing it; strictly it is a link.
    const isDirectory = run.strict ? isRealDirectory(path) : kindBehind(path) === "directory";
    if (isDirectory && !options.recursive) {
      const text = `error: '${toText(path)}' is a directory and not in recursive mode`;
      run.report.problem("signed-source-unusable", text);
      return false;
    }
    const base = options.relativeTo ?? (isDirectory ? path : directoryOf(path));
    isWell = walk({ run, base, prefix: options.prefix, ...on }, path) && isWell;
  }
  return isWell;
}

function isRealDirectory(path: ByteText): boolean {
  try {
    return kindAt(path) === "directory";
  } catch {
    return false;
  }
}
