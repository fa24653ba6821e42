// `validator install`, second half: checks each file and writes it. Strictly, all files are checked before the first
// is written, and what is written outlives a power cut.
import type { KeyObject } from "node:crypto";
import { type ByteText, directoryOf, toText } from "./byte-path.ts";
import { absolute, type Run } from "./engine.ts";
import {
  forEachInstallable,
  type Installable,
  type InstallOptions,
  linkProblem,
  placesOf,
} from "./install-list.ts";
import { digestFile, kindBehind } from "./read-files.ts";
import { codeOf, reasonOf } from "./report.ts";
import type { SignedContent } from "./signature-file.ts";
import { checkFile } from "./validate.ts";
import { makeDirectories, replaceFileBy, replaceLink } from "./write-files.ts";

/** A file whose signature holds. */
export interface Verified extends Installable {
  readonly content: SignedContent;
}

function verified(run: Run, file: Installable, keys: readonly KeyObject[]): Verified | undefined {
  const words = (path: string, name: string) => `Signature of '${path}' (as '${name}') is invalid`;
  const content = checkFile(run, file, keys, words);
  return content === undefined ? undefined : { ...file, content };
}

/** As validator writes, but for one thing: a file that changed since it was checked is not installed. */
function put({ report }: Run, { path, destination, content }: Verified, force: boolean): boolean {
  try {
    if (!force && kindBehind(destination) !== undefined) {
      report.info(`File '${toText(destination)}' already exist, ignoring`);
      return true;
    }
    makeDirectories(directoryOf(destination));
    if (content.type === "symlink") {
      replaceLink(destination, content.target);
    } else {
      replaceFileBy(destination, (write) => {
        if (!digestFile(path, true, write).equals(content.sha512)) throw new Error("it changed meanwhile");
      });
    }
  } catch (error) {
    const code = codeOf(error, "signed-destination-unsafe");
    report.problem(code, `Can't install '${toText(path)}' as '${toText(destination)}': ${reasonOf(error)}`);
    return false;
  }
  report.info(`Installed file '${toText(destination)}'`);
  return true;
}

/** Strictly: all or none. */
async function installChecked(
  run: Run,
  options: InstallOptions,
  keys: readonly KeyObject[],
): Promise<boolean> {
  const files: Verified[] = [];
  let isWell = forEachInstallable(run, options, (file) => {
    const found = verified(run, file, keys);
    if (found !== undefined) files.push(found);
    return found !== undefined;
  });
  if (!isWell) return false;
  const top = absolute(run, options.destination);
  const destinations = files.map(({ destination }) => destination);
  const places = placesOf(destinations, top);
  const seen = new Set<ByteText>();
  for (const destination of destinations) {
    if (seen.has(destination)) {
      run.report.problem("signed-source-unusable", `Two sources are for '${toText(destination)}'`);
      isWell = false;
    }
    seen.add(destination);
  }
  for (const { path, destination, content } of files) {
    const why = content.type === "symlink" ? linkProblem(destination, content.target, places) : undefined;
    if (why === undefined) continue;
    run.report.problem("signed-link-refused", `Can't install the link '${toText(path)}': ${why}`);
    isWell = false;
  }
  if (isWell && files.length === 0) {
    run.report.problem("signed-source-missing", `There is nothing to install in '${toText(top)}'`);
    isWell = false;
  }
  if (!isWell) return false;
  const { installStrictly } = await import("./strict-install.ts");
  return await installStrictly(run, files, top, options.force);
}

/**
 * Installs what has a signature that holds.
 * @returns whether all went well; what did not was reported. A problem of one file stops none of the others, unless
 * strictly, where nothing is written then
 */
export async function installFiles(
  run: Run,
  options: InstallOptions,
  keys: readonly KeyObject[],
): Promise<boolean> {
  if (run.strict) return await installChecked(run, options, keys);
  return forEachInstallable(run, options, (file) => {
    const found = verified(run, file, keys);
    return found !== undefined && put(run, found, options.force);
  });
}
