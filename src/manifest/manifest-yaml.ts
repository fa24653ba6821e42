// manifest.yaml: YAML 1.2 text into a checked ImportManifest.
import { problemsOf } from "./install-json.ts";
import { checkRules } from "./rules.ts";
import { type ImportManifest, importManifestSchema } from "./schema.ts";
import { parseYaml } from "./yaml-document.ts";

/**
 * Parses and checks the text of a manifest.
 * @param file names the text in errors
 * @throws MosError `manifest-invalid` with every problem as `FILE:LINE:COLUMN: field: message`
 */
export function parseManifestYaml(text: string, file: string): ImportManifest {
  return parseYaml(text, file, "manifest-invalid", (plain) => {
    const result = importManifestSchema.safeParse(plain);
    const problems = result.success ? checkRules(result.data) : problemsOf(result.error);
    return result.success && problems.length === 0 ? { value: result.data } : { problems };
  });
}
