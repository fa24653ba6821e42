// A good manifest and a good image, from which tests make everything else by one named change.

import type { InstallManifest, Target } from "../src/manifest/schema.ts";
import type { Secret } from "../src/manifest/secret-schema.ts";
import { digestOf } from "../src/oci/digest.ts";
import { dataSizes, sealedSize } from "../src/secrets/envelope.ts";
import { trialTags } from "../src/services/credentials.ts";
import type { Layer, RenderInput, ServiceImage } from "../src/services/model.ts";
import { defaultPlaces } from "../src/services/unit-names.ts";

export function sampleTarget(change: Partial<Target> = {}): Target {
  return {
    service_name: "web",
    version: "1.0.0",
    service_type: "container",
    network: { type: "none", ipv4: "", ipv6: "", ports: [] },
    nsgroup: "web",
    digest: digestOf(change.service_name ?? "web"),
    storage: [],
    size: 1000,
    secrets: [],
    ...change,
  };
}

/** A secret of the form that a manifest has; nothing opens it. */
export function sampleSecret(name: string): Secret {
  const sealed = Buffer.alloc(sealedSize, `sealed ${name}`).toString("base64");
  const data = Buffer.alloc(dataSizes.min + 20, `data of ${name}`).toString("base64");
  return { name, data, recipients: [{ key: digestOf(name).slice("sha256:".length), sealed }] };
}

export function sampleManifest(change: Partial<InstallManifest> = {}): InstallManifest {
  return {
    version: 1,
    product: "demo",
    storage: [],
    targets: [sampleTarget()],
    update_type: "complete",
    ...change,
  };
}

export function sampleLayer(seed: string, kind: Layer["kind"] = "squashfs"): Layer {
  const hex = digestOf(seed).slice("sha256:".length);
  return {
    kind,
    rootHash: hex,
    hashOffset: 8192,
    blob: `/var/lib/mos/oci/blobs/sha256/${digestOf(`blob ${seed}`).slice(7)}`,
  };
}

export function sampleImage(
  target: Target,
  layers: readonly Layer[] = [sampleLayer(target.service_name)],
): ServiceImage {
  return { target, layers, config: { config: { Entrypoint: ["/usr/bin/server"], Cmd: ["--port", "80"] } } };
}

export function sampleInput(manifest: InstallManifest, images?: readonly ServiceImage[]): RenderInput {
  const groups = [...manifest.targets, ...manifest.storage].map(({ nsgroup }) => nsgroup);
  const named = [...new Set(groups)].filter((group) => group !== "" && group !== "none");
  return {
    generation: 7,
    manifest,
    images: images ?? manifest.targets.map((target) => sampleImage(target)),
    credentials: trialTags(manifest.targets.map((target) => sampleImage(target))),
    idmaps: new Map(named.map((group, i) => [group, 100_000 + 65_536 * i])),
    places: defaultPlaces,
    podmanUnits: "by-quadlet",
  };
}
