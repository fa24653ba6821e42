// The units that a manifest becomes, before its images are there: what only an image or a device knows has a stand-in.
import { compileManifest } from "../manifest/compile.ts";
import type { ImportManifest } from "../manifest/schema.ts";
import type { Secret } from "../manifest/secret-schema.ts";
import { digestOf } from "../oci/digest.ts";
import { trialTags } from "./credentials.ts";
import { allocateRanges } from "./idmap.ts";
import type { RenderedUnit, ServiceImage } from "./model.ts";
import { groupsOf, renderUnits } from "./render.ts";
import { defaultPlaces } from "./unit-names.ts";

/** What stands for the program that an image names. */
const programOfImage = "/WHAT-THE-IMAGE-SAYS";

/**
 * The units of a manifest, with one layer for each image.
 * @throws MosError `image-unusable`, `layer-unsupported`
 */
export function explainManifest(manifest: ImportManifest): RenderedUnit[] {
  const images = manifest.targets.map(({ source, digest, size }) => ({
    digest: digest ?? digestOf(source),
    size: size ?? 1,
  }));
  const secrets = manifest.targets.map((target) =>
    target.secrets.map(({ name }): Secret => ({ name, data: "", recipients: [] })),
  );
  const compiled = compileManifest(manifest, images, [], secrets);
  const services = compiled.targets.map((target, i): ServiceImage => {
    const source = manifest.targets[i];
    const packed = source?.source.startsWith("rootfs:") === true ? source.image : undefined;
    const layer = {
      ...{ kind: "squashfs" as const, hashOffset: 4096 },
      rootHash: digestOf(`layer of ${target.digest}`).slice("sha256:".length),
      blob: `${defaultPlaces.state}/oci/blobs/sha256/${digestOf(`blob of ${target.digest}`).slice("sha256:".length)}`,
    };
    const config = {
      Entrypoint: packed?.entrypoint ?? (packed === undefined ? [programOfImage] : []),
      Cmd: packed?.cmd ?? [],
      Env: packed?.env ?? [],
      User: packed?.user ?? "",
      WorkingDir: packed?.working_dir ?? "",
      StopSignal: packed?.stop_signal ?? "",
      Labels: packed?.labels ?? {},
      Volumes: Object.fromEntries((packed?.volumes ?? []).map((path) => [path, {}])),
      ExposedPorts: Object.fromEntries((packed?.exposed_ports ?? []).map((port) => [port, {}])),
    };
    return { target, layers: [layer], config: { config } };
  });
  const ranges = allocateRanges(new Map(), groupsOf(compiled));
  return renderUnits({
    generation: 1,
    manifest: compiled,
    images: services,
    idmaps: "maps" in ranges ? ranges.maps : new Map(),
    credentials: trialTags(services),
    places: defaultPlaces,
    podmanUnits: "by-quadlet",
  });
}
