// The manifest of a generation as it lies on the disk, for looking at and for counting what it needs. Its signatures are
// not checked: what is to run goes through acceptGeneration (src/agent/trust.ts).
import { parseInstallManifest } from "../manifest/install-json.ts";
import { mergeManifests } from "../manifest/merge.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { GenerationContent } from "./generations.ts";

/** All manifests of a generation as one. @throws MosError `document-invalid`, `manifest-refused`, `partial-refused` */
export function storedManifest({ bases, manifest }: GenerationContent): InstallManifest {
  const [first, ...others] = [...bases.map((base) => base.manifest), manifest].map(parseInstallManifest);
  return first === undefined ? parseInstallManifest(manifest) : mergeManifests([first, ...others]);
}
