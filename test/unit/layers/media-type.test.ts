import { describe, expect, it } from "vitest";
import {
  checkLayerKind,
  packedMediaTypes,
  rootHashAnnotationsOf,
  rootHashOf,
} from "../../../src/layers/media-type.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import type { Descriptor } from "../../../src/oci/model.ts";

const squashfs = "application/vnd.stacker.image.layer.squashfs";
const erofs = "application/vnd.stacker.image.layer.erofs";
const old = "io.stackeroci.stacker.squashfs_verity_root_hash";
const current = "io.stackeroci.stacker.atomfs_verity_root_hash";
const hash = "ab".repeat(32);

function layer(mediaType: string, annotations?: Record<string, string>): Descriptor {
  return {
    mediaType,
    digest: digestOf("layer"),
    size: 5,
    ...(annotations === undefined ? {} : { annotations }),
  };
}

function refused(code: string) {
  return expect.objectContaining({ code });
}

describe("a layer's media type", () => {
  it.each([
    [squashfs, "squashfs"],
    [`${squashfs}+gzip`, "squashfs"],
    [`${squashfs}+zstd+verity`, "squashfs"],
    [`${squashfs}+gzip+verity`, "squashfs"],
    [erofs, "erofs"],
    [`${erofs}+lz4hc`, "erofs"],
    [packedMediaTypes.squashfs, "squashfs"],
    [packedMediaTypes.erofs, "erofs"],
  ])("%s is %s", (mediaType, kind) => {
    expect(checkLayerKind(layer(mediaType))).toBe(kind);
  });

  it.each([
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
  ])("%s is refused, and the hint says why a tar layer cannot be used", (mediaType) => {
    expect(() => rootHashOf(layer(mediaType, { [old]: hash }))).toThrow(
      expect.objectContaining({ code: "layer-unsupported", hint: expect.stringContaining("tar layer") }),
    );
  });

  it.each([`${squashfs}2`, `x${squashfs}`, "text/plain"])("%s is refused", (mediaType) => {
    expect(() => checkLayerKind(layer(mediaType))).toThrow(refused("layer-unsupported"));
  });
});

describe("the root hash of a layer", () => {
  it.each([
    ["the old annotation", { [old]: hash }],
    ["the current annotation", { [current]: hash }],
    ["both", rootHashAnnotationsOf(hash)],
  ])("is read from %s", (_, annotations) => {
    expect(rootHashOf(layer(squashfs, annotations))).toBe(hash);
  });

  it("that nothing states is called missing", () => {
    expect(() => rootHashOf(layer(squashfs))).toThrow(refused("verity-missing"));
    expect(() => rootHashOf(layer(squashfs, { other: hash }))).toThrow(refused("verity-missing"));
  });

  it("that is stated twice and differently is refused", () => {
    const annotations = { [old]: hash, [current]: "cd".repeat(32) };
    expect(() => rootHashOf(layer(squashfs, annotations))).toThrow(refused("verity-mismatch"));
  });

  it.each(["", hash.toUpperCase(), hash.slice(1), `${hash}\n`, `${hash} `, "zz".repeat(32)])(
    "is refused when it is not 64 lower-case hex digits: %j",
    (value) => {
      expect(() => rootHashOf(layer(squashfs, { [current]: value }))).toThrow(refused("verity-mismatch"));
    },
  );
});
