// What rendering needs to know, and what it gives back.
import type { InstallManifest, Target } from "../manifest/schema.ts";
import type { ImageConfig } from "../oci/model.ts";
import type { CredentialsTags } from "./credentials.ts";
import type { IdMaps } from "./idmap.ts";
import type { Places } from "./unit-names.ts";

/** A verity layer as it lies in the store. */
export interface Layer {
  readonly kind: "squashfs" | "erofs";
  /** 64 hex digits. */
  readonly rootHash: string;
  /** Byte offset of the verity superblock in the blob. */
  readonly hashOffset: number;
  /** Absolute path of the blob. */
  readonly blob: string;
}

/** One target with the image that its digest names. Layers are in OCI order: the lowest first. */
export interface ServiceImage {
  readonly target: Target;
  readonly config: ImageConfig;
  readonly layers: readonly Layer[];
}

export interface RenderInput {
  readonly generation: number;
  readonly manifest: InstallManifest;
  readonly images: readonly ServiceImage[];
  readonly idmaps: IdMaps;
  readonly credentials: CredentialsTags;
  readonly places: Places;
  /** Who makes services of containers and networks: quadlet, or mos itself where podman's is none or too old. */
  readonly podmanUnits: "by-quadlet" | "by-mos";
}

/** A file for systemd or for quadlet. */
export interface RenderedUnit {
  readonly kind: "systemd" | "quadlet";
  readonly name: string;
  readonly content: string;
  /** Services that must be restarted when this file changes. */
  readonly services: readonly string[];
}
