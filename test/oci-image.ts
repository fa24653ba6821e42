// Images as podman and Docker have them, their layers tar archives, in an OCI layout.
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../src/system/process.ts";

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Where an image is, as skopeo(1) has it, and its id. */
interface MadeImage {
  readonly source: string;
  readonly id: string;
}

/**
 * Makes an image of tar archives.
 * @param layout does not exist yet
 * @param layers bottom first
 * @param config its command, and what else a container's configuration has
 */
export async function makeImageOf(
  layout: string,
  layers: readonly Buffer[],
  config: { readonly Entrypoint: readonly string[]; readonly Env?: readonly string[] },
): Promise<MadeImage> {
  const blobs = join(layout, "blobs/sha256");
  await mkdir(blobs, { recursive: true });
  const put = async (mediaType: string, bytes: Uint8Array) => {
    const digest = sha256(bytes);
    await writeFile(join(blobs, digest), bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const type = (what: string): string => `application/vnd.oci.image.${what}`;
  const descriptors = [];
  for (const layer of layers) descriptors.push(await put(type("layer.v1.tar"), layer));
  const document = Buffer.from(
    JSON.stringify({
      ...{ architecture: "amd64", os: "linux", config },
      rootfs: { type: "layers", diff_ids: descriptors.map(({ digest }) => digest) },
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      ...{ schemaVersion: 2, mediaType: type("manifest.v1+json") },
      ...{ config: await put(type("config.v1+json"), document), layers: descriptors },
    }),
  );
  const named = {
    ...(await put(type("manifest.v1+json"), manifest)),
    annotations: { "org.opencontainers.image.ref.name": "1" },
  };
  await writeFile(join(layout, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await writeFile(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [named] }));
  return { source: `oci:${layout}:1`, id: sha256(document) };
}

/**
 * Makes an image of a directory.
 * @param layout does not exist yet
 * @param entrypoint its command
 */
export async function makeImage(
  layout: string,
  root: string,
  entrypoint: readonly string[],
): Promise<MadeImage> {
  await mkdir(layout, { recursive: true });
  const tar = join(layout, "layer.tar");
  await run("tar", ["-cf", tar, "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", root, "."]);
  const layer = await readFile(tar);
  await rm(tar);
  return await makeImageOf(layout, [layer], { Entrypoint: entrypoint });
}
