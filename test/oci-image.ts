// An image as podman and Docker have them, its one layer a tar archive, in an OCI layout.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../src/system/process.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/**
 * Makes an image of a directory.
 * @param layout does not exist yet
 * @param entrypoint its command
 * @returns where it is, as skopeo(1) has it, and its id
 */
export async function makeImage(
  layout: string,
  root: string,
  entrypoint: readonly string[],
): Promise<{ readonly source: string; readonly id: string }> {
  const blobs = join(layout, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (mediaType: string, bytes: Uint8Array) => {
    const digest = sha256(bytes);
    await writeFile(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const tar = join(layout, "layer.tar");
  await run("tar", ["-cf", tar, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", root, "."]);
  const layer = await readFile(tar);
  await rename(tar, join(blobs, sha256(layer)));
  const config = Buffer.from(
    JSON.stringify({
      ...{ architecture: "amd64", os: "linux", config: { Entrypoint: entrypoint } },
      rootfs: { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] },
    }),
  );
  const type = (what: string): string => `application/vnd.oci.image.${what}`;
  const layers = [{ mediaType: type("layer.v1.tar"), digest: `sha256:${sha256(layer)}`, size: layer.length }];
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: type("manifest.v1+json") },
      ...{ config: await put(type("config.v1+json"), config), layers },
    }),
  );
  const named = {
    ...(await put(type("manifest.v1+json"), manifest)),
    annotations: { "org.opencontainers.image.ref.name": "1" },
  };
  await writeFile(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await writeFile(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  return { source: `oci:${layout}:1`, id: sha256(config) };
}
