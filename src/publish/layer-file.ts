// Layers of an image as files and trees on this machine, to be looked into.
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, open } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { indexLayer } from "../elf/layer-index.ts";
import type { LayerView } from "../elf/root-tree.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { type FilesystemKind, parseSuperblock, superblockBytes } from "../layers/superblock.ts";
import { digestFromHex } from "../oci/digest.ts";
import type { Descriptor } from "../oci/model.ts";
import { run, runPiped } from "../system/process.ts";

/** Unpacking the largest layer (milliseconds). */
const timeoutMs = 30 * 60_000;
/** Most that a layer may unpack to: bytes, and so many more for each of its own. Programs and texts give 2 to 10. */
const freeUnpacked = 256 * 1024 ** 2;
const mostUnpacked = 100;

/** A blob and where its bytes are. */
export interface BlobSource {
  readonly descriptor: Descriptor;
  readonly open: () => AsyncIterable<Uint8Array>;
}

/** A layer as it is on a device: squashfs or EROFS. */
export interface LayerFile {
  readonly descriptor: Descriptor;
  readonly path: string;
}

/** A layer that can be looked into for as long as its directory is there. */
export interface ViewedLayer {
  readonly view: LayerView | string;
  readonly directory: string;
}

/** Writes a layer into a file. @throws MosError `digest-mismatch`, `size-mismatch`, and what fetching throws */
export async function saveLayer({ descriptor, open: bytesOf }: BlobSource, path: string): Promise<LayerFile> {
  const { digest, size } = descriptor;
  const hash = createHash("sha256");
  let bytes = 0;
  await pipeline(
    bytesOf(),
    async function* (pieces: AsyncIterable<Uint8Array>) {
      for await (const piece of pieces) {
        bytes += piece.length;
        if (bytes > size) {
          throw new MosError("size-mismatch", `the layer ${digest} has more than its ${size} bytes`, {
            about: digest,
          });
        }
        hash.update(piece);
        yield piece;
      }
    },
    createWriteStream(path, { flags: "wx" }),
  );
  if (digestFromHex(hash.digest("hex")) !== digest) {
    throw new MosError("digest-mismatch", `cannot use the layer ${digest}: it is not what its image says`, {
      about: digest,
    });
  }
  return { descriptor, path };
}

/** Programs of /sbin are looked for too. */
const sbin = (): Record<string, string> => ({ PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` });

/** What is in the file; media types do not always tell. @throws MosError `layer-unsupported` */
async function kindOf({ descriptor, path }: LayerFile): Promise<FilesystemKind> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const { buffer, bytesRead } = await file.read(Buffer.alloc(superblockBytes), 0, superblockBytes, 0);
  return parseSuperblock(buffer.subarray(0, bytesRead), size, descriptor.digest).kind;
}

/** Unpacks an EROFS layer. @throws MosError `program-missing`, `program-failed` */
export async function extractErofs({ descriptor, path }: LayerFile, tree: string): Promise<void> {
  const most = `--fsize=${freeUnpacked + mostUnpacked * descriptor.size}`;
  const args = [most, "fsck.erofs", `--extract=${tree}`, "--no-preserve-owner", path];
  const env = sbin();
  // By itself first, so that it is it that is missing where it is.
  await run("fsck.erofs", ["-V"], { env });
  await run("prlimit", args, { timeoutMs, env });
}

/** All of a squashfs layer in one tar archive: no file is made for each, and no privilege needed for any. */
async function asTar({ descriptor, path }: LayerFile, archive: string): Promise<number> {
  const limit = freeUnpacked + mostUnpacked * descriptor.size;
  const { digest } = descriptor;
  const sqfs2tar = await runPiped("sqfs2tar", ["--no-skip", path]);
  const timer = setTimeout(sqfs2tar.kill, timeoutMs);
  let bytes = 0;
  try {
    await pipeline(
      sqfs2tar.stdout,
      async function* (pieces: AsyncIterable<Uint8Array>) {
        for await (const piece of pieces) {
          bytes += piece.length;
          if (bytes > limit) {
            throw new MosError("too-large", `the layer ${digest} unpacks to more than ${limit} bytes`, {
              about: digest,
            });
          }
          yield piece;
        }
      },
      createWriteStream(archive, { flags: "wx" }),
    );
  } catch (error) {
    sqfs2tar.kill();
    throw asMosError(error, digest);
  } finally {
    clearTimeout(timer);
  }
  await sqfs2tar.ended;
  return limit;
}

/**
 * Makes a layer something to be looked into.
 * @param workDirectory where that is; the caller removes it when it has looked
 * @returns what {@link RootTree} takes, and the directory that it needs
 * @throws MosError `layer-unsupported`, `too-large`, `archive-refused`, `program-missing`, `program-failed`
 */
export async function viewLayer(layer: LayerFile, workDirectory: string): Promise<ViewedLayer> {
  const work = await mkdtemp(join(workDirectory, "view-"));
  if ((await kindOf(layer)) === "squashfs") {
    const archive = join(work, "layer.tar");
    return { view: await indexLayer(archive, await asTar(layer, archive)), directory: work };
  }
  const tree = join(work, "tree");
  await mkdir(tree);
  await extractErofs(layer, tree);
  return { view: tree, directory: work };
}
