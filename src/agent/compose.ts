// What a device would run after a manifest: a complete one alone, a partial one over what stays of those before it.
import { MosError } from "../errors/mos-error.ts";
import { maxBases } from "../generation/generations.ts";
import type { SignedParts } from "../generation/signed-parts.ts";
import { contributing, mergeManifests } from "../manifest/merge.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Candidate } from "./candidate.ts";
import type { LoadedGeneration } from "./load.ts";

export interface Composition {
  /** What stays below a partial manifest, the oldest first. */
  readonly bases: readonly SignedParts[];
  /** All of them together. */
  readonly merged: InstallManifest;
}

/**
 * Puts a manifest onto what runs. A complete one stands alone.
 * @throws MosError `partial-refused`
 */
export function compose(
  { manifest, parts }: Pick<Candidate, "manifest" | "parts">,
  running: LoadedGeneration | undefined,
): Composition {
  if (manifest.update_type === "complete") return { bases: [], merged: manifest };
  if (running === undefined) {
    throw new MosError(
      "partial-refused",
      "cannot apply a partial manifest: nothing runs that it could change",
      {
        about: "install.json",
      },
    );
  }
  const { generation, accepted } = running;
  // The same manifest once more changes nothing.
  const isSame = Buffer.compare(generation.manifest, parts.manifest) === 0;
  const below = isSame ? generation.bases : [...generation.bases, generation];
  const manifests = accepted.map((one) => one.manifest).slice(0, below.length);
  const used = contributing([...manifests, manifest]);
  const bases = below.filter((_, i) => used[i]);
  if (bases.length > maxBases) {
    throw new MosError(
      "partial-refused",
      `cannot apply a partial manifest: ${bases.length} others would have to stay below it`,
      { about: "install.json", hint: "Publish a complete one." },
    );
  }
  const [first, ...others] = manifests.filter((_, i) => used[i]);
  return {
    bases: bases.map((base) => ({ manifest: base.manifest, signatures: base.signatures })),
    merged: mergeManifests(first === undefined ? [manifest] : [first, ...others, manifest]),
  };
}
