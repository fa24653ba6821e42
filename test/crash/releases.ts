// Published releases for devices that lose their power: tiny layers, several of them shared.

import { encodeInstallManifest } from "../../src/manifest/install-json.ts";
import type { Release, Target } from "../../src/manifest/schema.ts";
import { emptyConfig } from "../../src/oci/artifacts.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type BuiltImage, buildImage } from "../../src/oci/image.ts";
import { Layout } from "../../src/oci/layout.ts";
import { mediaTypes } from "../../src/oci/model.ts";
import { type Image, installArtifact, referrerOf, signWith } from "../integration/refusals-fixture.ts";
import { sampleManifest, sampleTarget } from "../samples.ts";
import type { Issued } from "../unit/trust/authority.ts";

export type LayerFile = Image["layer"];

/** One service of a release: its name, and its layers. */
export type Service = readonly [name: string, ...layers: readonly LayerFile[]];

export interface Published {
  readonly reference: string;
  /** Of install.json. */
  readonly digest: Digest;
  readonly directory: string;
  readonly layers: readonly LayerFile[];
}

/** Judged at the first look. */
const health = { timeout: 60, settle: 0, tries: 3 };
const run = { entrypoint: ["/bin/service"], cmd: [], env: [], user: "", working_dir: "" };

/** Publishes a release into an OCI layout of its own. @param by who signs it, in order */
export async function publishRelease(
  directory: string,
  services: readonly Service[],
  release: Release,
  by: readonly Issued[],
): Promise<Published> {
  const layout = await Layout.create(directory);
  const put = (descriptor: Parameters<Layout["putBlob"]>[0], bytes: Uint8Array) =>
    layout.putBlob(descriptor, async function* () {
      yield bytes;
    });
  const targets: Target[] = [];
  for (const [name, ...layers] of services) {
    for (const { descriptor, bytes } of layers) await put(descriptor, bytes);
    const image: BuiltImage = buildImage(
      layers.map(({ descriptor }) => descriptor),
      run,
    );
    await put(image.config.descriptor, image.config.bytes);
    const digest = await layout.putManifest(image.manifest.bytes, mediaTypes.manifest);
    const { size } = image.manifest.descriptor;
    targets.push(sampleTarget({ service_name: name, nsgroup: name, digest, size }));
  }
  const installJson = encodeInstallManifest(sampleManifest({ targets, release, health }));
  const install = installArtifact({ installJson });
  const referrers = by.flatMap((signer) => [
    referrerOf("certificate", Buffer.from(signer.pem), install),
    referrerOf("signature", signWith(signer, installJson), install),
  ]);
  await put({ mediaType: mediaTypes.empty, digest: digestOf(emptyConfig), size: 2 }, emptyConfig);
  for (const artifact of [install, ...referrers]) {
    await put(artifact.layer, artifact.content);
    await layout.putManifest(artifact.manifest, mediaTypes.manifest);
  }
  await layout.putManifest(install.manifest, mediaTypes.manifest, "1");
  const layers = services.flatMap(([, ...own]) => own);
  return { reference: `oci:${directory}:1`, digest: digestOf(installJson), directory, layers };
}
