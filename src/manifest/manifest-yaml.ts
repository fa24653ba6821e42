// manifest.yaml: YAML 1.2 text into a checked ImportManifest.
import { withSuggestions } from "./did-you-mean.ts";
import { problemsOf } from "./install-json.ts";
import { checkRules } from "./rules.ts";
import { type ImportManifest, importManifestSchema } from "./schema.ts";
import { type LocatedYaml, locateYaml } from "./yaml-document.ts";

/**
 * Parses and checks the text of a manifest.
 * @param file names the text in errors
 * @throws MosError `manifest-invalid` with every problem as `FILE:LINE:COLUMN: field: message`
 */
export function parseManifestYaml(text: string, file: string): ImportManifest {
  return locateManifestYaml(text, file).manifest;
}

/** A manifest, and where each of its fields stands. */
export interface LocatedManifest {
  readonly manifest: ImportManifest;
  readonly at: LocatedYaml<ImportManifest>["at"];
}

/**
 * As {@link parseManifestYaml}, for those who have more to say about its fields.
 * @throws MosError `manifest-invalid`
 */
export function locateManifestYaml(text: string, file: string): LocatedManifest {
  const { value, at } = locateYaml(text, file, "manifest-invalid", (plain) => {
    const result = importManifestSchema.safeParse(plain);
    const problems = result.success
      ? checkRules(result.data)
      : withSuggestions(importManifestSchema, problemsOf(result.error));
    return result.success && problems.length === 0 ? { value: result.data } : { problems };
  });
  return { manifest: value, at };
}
