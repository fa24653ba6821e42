// `validator blob`: what a signature is made over, for keys that are elsewhere.
import { type ByteText, directoryOf, toText } from "./byte-path.ts";
import { absolute, contentOf, type Naming, nameOf, type Run } from "./engine.ts";
import { kindAt } from "./read-files.ts";
import { codeOf, reasonOf } from "./report.ts";
import { blobOf } from "./signature-file.ts";

/** The bytes to sign for one file; undefined when it was reported why there are none. */
export function blobOfFile(run: Run, file: ByteText, naming: Naming): Buffer | undefined {
  const path = absolute(run, file);
  const name = nameOf(run, path, naming.relativeTo ?? directoryOf(path), naming.prefix);
  if (name === undefined) return undefined;
  try {
    const kind = kindAt(path);
    if (kind === "regular" || kind === "symlink") return blobOf(name, contentOf(path, kind, !run.strict));
    run.report.problem("signed-source-unusable", `Unsupported file type for '${toText(path)}'`);
  } catch (error) {
    const code = codeOf(error, "signed-source-unusable");
    run.report.problem(code, `Can't access '${toText(path)}': ${reasonOf(error)}`);
  }
  return undefined;
}
