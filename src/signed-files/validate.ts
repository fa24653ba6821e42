// `validator validate`, and the check of one file that install makes too.
import type { KeyObject } from "node:crypto";
import { type ByteText, signaturePath, toText } from "./byte-path.ts";
import { contentOf, forEachFile, type Naming, type Run } from "./engine.ts";
import { readIfThere } from "./read-files.ts";
import { codeOf, reasonOf } from "./report.ts";
import { blobOf, checkSignature, maxSignatureFile, type SignedContent } from "./signature-file.ts";

/**
 * Checks one file.
 * @param words how an invalid signature is told: validate and install of validator differ
 * @returns what is signed, or undefined when it was reported why not
 */
export function checkFile(
  run: Run,
  {
    path,
    name,
    kind,
  }: { readonly path: ByteText; readonly name: ByteText; readonly kind: "regular" | "symlink" },
  keys: readonly KeyObject[],
  words: (path: string, name: string) => string,
): SignedContent | undefined {
  const { report, strict } = run;
  const load = <T>(file: ByteText, read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      const code = codeOf(error, "signed-source-unusable");
      report.problem(code, `Failed to load '${toText(file)}': ${reasonOf(error)}`);
      return undefined;
    }
  };
  const place = signaturePath(path);
  const signature = load(place, () => readIfThere(place, maxSignatureFile) ?? null);
  if (signature === null) report.problem("signed-file-unsigned", `No signature for '${toText(path)}'`);
  if (signature === null || signature === undefined) return undefined;
  const content = load(path, () => contentOf(path, kind, !strict));
  if (content === undefined) return undefined;
  const verdict = checkSignature(signature, blobOf(name, content), keys, strict);
  if (verdict.isValid) return content;
  const detail = verdict.detail === undefined ? "" : `: ${verdict.detail}`;
  report.problem("signed-file-invalid", `${words(toText(path), toText(name))}${detail}`);
  return undefined;
}

/**
 * Checks files.
 * @returns whether all signatures hold; what does not was reported
 */
export function validateFiles(
  run: Run,
  files: readonly ByteText[],
  options: { readonly keys: readonly KeyObject[]; readonly recursive: boolean } & Naming,
): boolean {
  return forEachFile(run, files, options, {
    // The quotation mark at the end is validator's.
    unsupported: (path) => `Can't validate '${path}' due to unsupported file type'`,
    visit: (found) => {
      const words = (path: string, name: string) => `Signature of '${path}' is invalid (as ${name})`;
      if (checkFile(run, found, options.keys, words) === undefined) return false;
      run.report.info(`${toText(found.path)} is valid (as ${toText(found.name)})`);
      return true;
    },
  });
}
