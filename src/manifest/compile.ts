// From what a person wrote to what is signed: every source is replaced by the digest and size of the image
// manifest that it resolved to. Pure; resolving and packing happen in src/publish.
import { MosError } from "../errors/mos-error.ts";
import type { Digest } from "../oci/digest.ts";
import type { ImportManifest, ImportTarget, InstallManifest, Release } from "./schema.ts";
import type { Secret } from "./secret-schema.ts";
import type { serviceKeys } from "./service-schema.ts";

/** The OCI manifest that a target's source resolved to. */
export interface ResolvedImage {
  readonly digest: Digest;
  /** Bytes of the OCI manifest itself. */
  readonly size: number;
  /** What the source had before its layers were converted, where they were: that is what a manifest pins. */
  readonly source?: { readonly digest: Digest; readonly size: number };
}

/**
 * Compiles a manifest. `images` is in the order of `manifest.targets`.
 * @param anchors DER of the certificates in the files that `release.anchors` names
 * @param secrets of each target, encrypted
 * @throws MosError `digest-mismatch` or `size-mismatch` when a source is not what the manifest pins
 */
export function compileManifest(
  manifest: ImportManifest,
  images: readonly ResolvedImage[],
  anchors: readonly Uint8Array[],
  secrets: readonly (readonly Secret[])[],
): InstallManifest {
  return {
    version: 1,
    product: manifest.product,
    storage: manifest.storage,
    targets: manifest.targets.map((target, i) => {
      const image = images[i];
      if (image === undefined)
        throw new MosError("internal", `no image was resolved for ${target.service_name}`);
      checkPins(target, image.source ?? image);
      return {
        service_name: target.service_name,
        version: target.version,
        service_type: target.service_type,
        network: target.network,
        nsgroup: target.nsgroup,
        digest: image.digest,
        storage: target.storage,
        size: image.size,
        secrets: [...(secrets[i] ?? [])],
        ...(target.health === undefined ? {} : { health: target.health }),
        ...serviceOf(target),
      };
    }),
    update_type: manifest.update_type,
    ...(manifest.release === undefined ? {} : { release: compileRelease(manifest.release, anchors) }),
    ...(manifest.health === undefined ? {} : { health: manifest.health }),
  };
}

/** What a `rootfs:` source runs is packed with it; over an image it is said beside it. */
function serviceOf(
  target: ImportTarget,
): Pick<InstallManifest["targets"][number], (typeof serviceKeys)[number]> {
  const { image, limits, security, run, files, mounts, depends_on } = target;
  const over = target.source.startsWith("rootfs:") ? undefined : image;
  return {
    ...(over === undefined ? {} : { image: over }),
    ...(limits === undefined ? {} : { limits }),
    ...(security === undefined ? {} : { security }),
    ...(run === undefined ? {} : { run }),
    ...(files === undefined ? {} : { files }),
    ...(mounts === undefined ? {} : { mounts }),
    ...(depends_on === undefined ? {} : { depends_on }),
  };
}

function compileRelease(
  { serial, epoch, expires, revoked, rollout }: NonNullable<ImportManifest["release"]>,
  anchors: readonly Uint8Array[],
): Release {
  return {
    serial,
    epoch,
    ...(expires === undefined ? {} : { expires }),
    ...(anchors.length === 0 ? {} : { anchors: anchors.map((der) => Buffer.from(der).toString("base64")) }),
    ...(revoked === undefined ? {} : { revoked }),
    ...(rollout === undefined ? {} : { rollout }),
  };
}

function checkPins(target: ImportTarget, image: Pick<ResolvedImage, "digest" | "size">): void {
  if (target.digest !== undefined && target.digest !== image.digest) {
    throw new MosError(
      "digest-mismatch",
      `the source of ${target.service_name} has the digest ${image.digest}, but the manifest pins ${target.digest}`,
      {
        about: target.source,
        hint: "Correct the pin, or find out why the source has changed.",
      },
    );
  }
  if (target.size !== undefined && target.size !== image.size) {
    throw new MosError(
      "size-mismatch",
      `the image manifest of ${target.service_name} has ${image.size} bytes, but the manifest pins ${target.size}`,
      {
        about: target.source,
      },
    );
  }
}
