// Images of one layer, and patches to it, in a registry. Also for ./dev bench, which runs without vitest.
import { createReadStream } from "node:fs";
import { buildPatchArtifact } from "../../src/delta/patch-artifact.ts";
import type { PackedLayer } from "../../src/layers/pack.ts";
import { emptyConfig } from "../../src/oci/artifacts.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { buildImage } from "../../src/oci/image.ts";
import { type Descriptor, mediaTypes } from "../../src/oci/model.ts";
import { Registry } from "../../src/oci/registry.ts";
import { Session } from "../../src/oci/session.ts";
import type { WritableRepository } from "../../src/oci/source.ts";

export function registryAt(authority: string): Registry {
  return new Registry(new Session({ scheme: "http", authority }, { credentialFiles: [] }), "mos");
}

/** Puts a layer and an image of it into a repository. @returns the image's manifest */
export async function pushImage(to: WritableRepository, { path, descriptor }: PackedLayer) {
  await to.putBlob(descriptor, () => createReadStream(path));
  const { config, manifest } = buildImage([descriptor], {
    ...{ entrypoint: ["/x"], cmd: [], env: [], user: "", working_dir: "" },
  });
  await to.putBlob(config.descriptor, async function* () {
    yield config.bytes;
  });
  await to.putManifest(manifest.bytes, mediaTypes.manifest);
  return manifest;
}

/** Puts a patch between two layers beside the image that has the newer one. */
export async function pushPatch(
  to: WritableRepository,
  patch: Uint8Array,
  [from, layer, image]: readonly [Descriptor, Descriptor, Descriptor],
): Promise<Descriptor> {
  const { manifest, blob } = buildPatchArtifact(patch, from, layer, image);
  const config = { mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: emptyConfig.length };
  for (const [descriptor, bytes] of [
    [blob, patch],
    [config, emptyConfig],
  ] satisfies [Descriptor, Uint8Array][]) {
    await to.putBlob(descriptor, async function* () {
      yield bytes;
    });
  }
  await to.putManifest(manifest, mediaTypes.manifest);
  return blob;
}
