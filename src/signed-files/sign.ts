// `validator sign`: a signature beside each file.
import { createPublicKey, type KeyObject } from "node:crypto";
import { type ByteText, signaturePath, toText } from "./byte-path.ts";
import { contentOf, forEachFile, type Naming, type Run } from "./engine.ts";
import { kindBehind, readWhole } from "./read-files.ts";
import { codeOf, reasonOf } from "./report.ts";
import { blobOf, checkSignature, makeSignature, maxSignatureFile } from "./signature-file.ts";
import { replaceFile } from "./write-files.ts";

/** What is signed, and how. */
export interface SignOptions extends Naming {
  readonly key: KeyObject;
  readonly recursive: boolean;
  /** Sign anew what has a signature. */
  readonly force: boolean;
}

/**
 * Signs files. Of what has a signature validator believes that it is the right one; strictly it has to be.
 * @returns whether all of them are signed now; what is not was reported
 */
export function signFiles(run: Run, files: readonly ByteText[], options: SignOptions): boolean {
  const { report, strict } = run;
  const isStale = (path: ByteText, name: ByteText, kind: "regular" | "symlink"): boolean => {
    const signature = readWhole(signaturePath(path), maxSignatureFile);
    const blob = blobOf(name, contentOf(path, kind, false));
    return !checkSignature(signature, blob, [createPublicKey(options.key)], true).isValid;
  };
  return forEachFile(run, files, options, {
    unsupported: (path) => `Unsupported file type for '${path}'`,
    visit: ({ path, name, kind }) => {
      const signature = signaturePath(path);
      try {
        if (!options.force && kindBehind(signature) !== undefined) {
          if (strict && isStale(path, name, kind)) {
            report.problem(
              "signed-file-invalid",
              `File '${toText(path)}' has a signature that does not fit it`,
            );
            return false;
          }
          report.info(`File '${toText(path)}' already signed, ignoring`);
          return true;
        }
        replaceFile(signature, makeSignature(blobOf(name, contentOf(path, kind, !strict)), options.key));
      } catch (error) {
        const code = codeOf(error, "signed-source-unusable");
        report.problem(code, `Can't sign '${toText(path)}': ${reasonOf(error)}`);
        return false;
      }
      report.info(`Wrote signature '${toText(signature)}' (for path ${toText(name)})`);
      return true;
    },
  });
}
