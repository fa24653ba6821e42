// The manifest that a person wrote, as an argument.
import { readFile } from "node:fs/promises";
import { asMosError, MosError } from "../../errors/mos-error.ts";
import { parseManifestYaml } from "../../manifest/manifest-yaml.ts";
import type { ImportManifest } from "../../manifest/schema.ts";

/** @throws MosError `file-unreadable` */
export async function readTextFile(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${file}: ${asMosError(error).message}`, {
      about: file,
      cause: error,
    });
  }
}

/** @throws MosError `file-unreadable`, `manifest-invalid` */
export async function readManifest(file: string): Promise<ImportManifest> {
  return parseManifestYaml(await readTextFile(file), file);
}

export const manifestFile = {
  kind: "tuple",
  parameters: [{ brief: "the manifest", placeholder: "MANIFEST.yaml", parse: (input: string) => input }],
} as const;
