// Images of plain tar layers, which every builder of containers makes, as images that a device can open under dm-verity:
// each layer becomes one, so that what images share they still share. The same image gives the same bytes at any time.
import { createHash, type Hash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { type LayerFormat, type PackedLayer, packLayer } from "../layers/pack.ts";
import { type Directories, rewriteLayer } from "../layers/tar-layer.ts";
import { digestFromHex } from "../oci/digest.ts";
import type { Descriptor, ImageConfig } from "../oci/model.ts";
import type { Repository } from "../oci/source.ts";

/** Most that a layer may unpack to: bytes, and so many more for each packed byte. Programs and texts give 2 to 10. */
const freeUnpacked = 256 * 1024 ** 2;
const mostUnpacked = 100;

type Packing = "gzip" | "zstd" | "none";

/** OCI image specification 1.1, "Layer media types", and Docker's, which are the same. */
const tarTypes: Readonly<Record<string, Packing>> = {
  "application/vnd.oci.image.layer.v1.tar": "none",
  "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
  "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
  "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
  "application/vnd.docker.image.rootfs.diff.tar": "none",
};

export function isTarLayer({ mediaType }: Descriptor): boolean {
  return tarTypes[mediaType] !== undefined;
}

/** Hands on what passes, counted and hashed. */
async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  hash: Hash,
  limit: number,
  tooLarge: () => MosError,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (bytes > limit) throw tooLarge();
    hash.update(piece);
    yield piece;
  }
}

/** A layer as a tar archive on the disk, checked against its descriptor and against the image's configuration. */
async function fetchTar(
  layer: Descriptor,
  diffId: string | undefined,
  from: Repository,
  to: string,
  limit: number,
): Promise<void> {
  const { digest, mediaType, size } = layer;
  const [packed, plain] = [createHash("sha256"), createHash("sha256")];
  const bomb = () =>
    new MosError("too-large", `the layer ${digest} of ${from.name} unpacks to more than ${limit} bytes`, {
      about: digest,
    });
  const longer = () =>
    new MosError("size-mismatch", `the layer ${digest} of ${from.name} has more than its ${size} bytes`, {
      about: digest,
    });
  const unpack = { gzip: () => [createGunzip()], zstd: () => [createZstdDecompress()], none: () => [] }[
    tarTypes[mediaType] ?? "none"
  ]();
  try {
    const source = counted(from.blob(layer), packed, size, longer);
    const sink = createWriteStream(to, { flags: "wx" });
    const count = (pieces: AsyncIterable<Uint8Array>) => counted(pieces, plain, limit, bomb);
    await (unpack[0] === undefined
      ? pipeline(source, count, sink)
      : pipeline(source, unpack[0], count, sink));
  } catch (error) {
    const known = asMosError(error, digest);
    if (known.code !== "internal") throw known;
    const message = `the layer ${digest} of ${from.name} cannot be unpacked: ${known.message}`;
    throw new MosError("archive-refused", message, { about: digest, cause: error });
  }
  if (digestFromHex(packed.digest("hex")) !== digest)
    throw new MosError("digest-mismatch", `the layer ${digest} of ${from.name} is not what came`, {
      about: digest,
    });
  if (diffId !== undefined && digestFromHex(plain.digest("hex")) !== diffId)
    throw new MosError(
      "digest-mismatch",
      `the layer ${digest} of ${from.name} is not the one of its configuration`,
      {
        about: digest,
      },
    );
}

interface ConvertOptions {
  readonly format: LayerFormat;
  readonly workDirectory: string;
  /** Converted layers by the digests of a layer and all below it: images of one manifest share them. */
  readonly converted: Map<string, PackedLayer | undefined>;
}

/**
 * Converts the tar layers of an image; others stay as they are.
 * @returns layers, bottom first; of one that was converted with where it is
 * @throws MosError `archive-refused`, `digest-mismatch`, `size-mismatch`, `too-large`, and what fetching and packing throw
 */
export async function convertLayers(
  layers: readonly Descriptor[],
  { rootfs }: ImageConfig,
  from: Repository,
  options: ConvertOptions,
): Promise<readonly (Descriptor | PackedLayer)[]> {
  const below: Directories = new Map();
  const result: (Descriptor | PackedLayer)[] = [];
  let key = options.format as string;
  for (const [i, layer] of layers.entries()) {
    key += ` ${layer.digest}`;
    if (!isTarLayer(layer)) {
      result.push(layer);
      continue;
    }
    const packed = await convertLayer(layer, rootfs?.diff_ids?.[i], from, { ...options, below, key });
    if (packed !== undefined) result.push(packed);
  }
  return result;
}

async function convertLayer(
  layer: Descriptor,
  diffId: string | undefined,
  from: Repository,
  {
    format,
    workDirectory,
    converted,
    below,
    key,
  }: ConvertOptions & {
    readonly below: Directories;
    readonly key: string;
  },
): Promise<PackedLayer | undefined> {
  const limit = freeUnpacked + mostUnpacked * layer.size;
  const [original, rewritten] = ["original", "rewritten"].map((name) =>
    join(workDirectory, `${name}-${converted.size}.tar`),
  );
  if (original === undefined || rewritten === undefined) throw new MosError("internal", "no names");
  try {
    await fetchTar(layer, diffId, from, original, limit);
    const { isEmpty, deletes, newest } = await rewriteLayer(original, rewritten, limit, below);
    if (converted.has(key)) return converted.get(key);
    // An overlay's marks can be unpacked by few: not in a container, not without root. tar2sqfs need not unpack.
    const as = deletes ? "squashfs" : format;
    const packed = isEmpty
      ? undefined
      : await packLayer({ source: { kind: "tar", path: rewritten, newest }, format: as, workDirectory });
    converted.set(key, packed);
    return packed;
  } catch (error) {
    const known = asMosError(error, layer.digest);
    throw known.code === "archive-refused"
      ? new MosError(
          known.code,
          `cannot convert the layer ${layer.digest} of ${from.name}: ${known.message}`,
          {
            about: known.about ?? layer.digest,
            cause: error,
          },
        )
      : known;
  } finally {
    await Promise.all([original, rewritten].map((path) => rm(path, { force: true })));
  }
}
