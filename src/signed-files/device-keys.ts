// The keys that count on a device when nobody names others.
import type { KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import type { ErrorCode } from "../errors/catalogue.ts";
import { MosError } from "../errors/mos-error.ts";
import { fromText } from "./byte-path.ts";
import { loadPublicKeys } from "./keys.ts";

/** Where containers/validator has its keys by convention. */
export const keyDirectories = ["/usr/lib/validator/keys", "/etc/validator/keys"];

/**
 * Public keys of files and directories; of {@link keyDirectories} where none are named.
 * @throws MosError `signed-key-invalid`
 */
export function deviceKeys(
  files: readonly string[] = [],
  directories: readonly string[] = [],
): readonly KeyObject[] {
  const isGiven = files.length + directories.length > 0;
  const chosen = isGiven ? directories : keyDirectories.filter((directory) => existsSync(directory));
  const report = {
    problem: (code: ErrorCode, message: string): never => {
      throw new MosError(code, `cannot use the keys: ${message}`);
    },
    info: (): void => undefined,
  };
  const run = { cwd: fromText(process.cwd()), strict: true, report };
  return loadPublicKeys(files.map(fromText), chosen.map(fromText), run) ?? [];
}
