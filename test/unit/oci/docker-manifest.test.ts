// Images in Docker's own format, read as OCI's.
import { expect, test } from "vitest";
import { MosError } from "../../../src/errors/mos-error.ts";
import { dockerTypes, ociManifestOf } from "../../../src/oci/docker-manifest.ts";
import { parseManifest } from "../../../src/oci/model.ts";

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;

const layer = (type: string) => ({
  mediaType: `application/vnd.docker.image.rootfs.${type}`,
  digest: digest("b"),
  size: 7,
});

const docker = (change: object = {}) => ({
  schemaVersion: 2,
  mediaType: dockerTypes.manifest,
  config: { mediaType: "application/vnd.docker.container.image.v1+json", digest: digest("a"), size: 3 },
  layers: [layer("diff.tar.gzip"), layer("diff.tar")],
  ...change,
});

const convert = (document: object) =>
  parseManifest(ociManifestOf(Buffer.from(JSON.stringify(document)), "image"), "image");

test("has the same configuration and layers, under OCI's names", () => {
  const { config, layers } = convert(docker());
  expect(config).toEqual({
    ...{ mediaType: "application/vnd.oci.image.config.v1+json", digest: digest("a"), size: 3 },
  });
  expect(layers.map(({ mediaType }) => mediaType)).toEqual([
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar",
  ]);
  expect(layers.map((one) => [one.digest, one.size])).toEqual([
    [digest("b"), 7],
    [digest("b"), 7],
  ]);
});

test.each([
  ["a layer that is somewhere else", { layers: [layer("foreign.diff.tar.gzip")] }],
  ["no layers", { layers: undefined }],
  ["another version", { schemaVersion: 1 }],
  ["a digest of another kind", { config: { ...docker().config, digest: "md5:00" } }],
  ["a plugin", { config: { ...docker().config, mediaType: "application/vnd.docker.plugin.v1+json" } }],
])("is refused with %s", (_what, change) => {
  const error = (() => {
    try {
      return convert(docker(change));
    } catch (thrown) {
      return thrown;
    }
  })();
  expect(error).toBeInstanceOf(MosError);
  expect(error).toMatchObject({ code: "document-invalid" });
});
