// Making the bundle of an app: quadlets and files as they are, images as one OCI layout beside them, quadlets naming
// images by what was taken; a signed set, in one signed archive.
import type { KeyObject } from "node:crypto";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { hexOf } from "../oci/digest.ts";
import { type Descriptor, parseIndex, parseManifest } from "../oci/model.ts";
import { archiveSet } from "../signed-sets/archive-set.ts";
import { makeSet } from "../signed-sets/make-set.ts";
import { pathsIn } from "../signed-sets/read-set.ts";
import {
  type AppImage,
  imagesName,
  manifestName,
  type SetManifest,
  signatureName,
} from "../signed-sets/set-manifest.ts";
import { unitsOf } from "../signed-sets/set-units.ts";
import { run } from "../system/process.ts";
import { imageName } from "./image-store.ts";
import { isQuadlet, withImageIds } from "./quadlet-images.ts";

/** What an app is made of. */
export interface AppDescription {
  readonly name: string;
  readonly version: string;
  readonly serial: number;
  /** Directory on the device. */
  readonly destination: string;
  /** Who owns its files. */
  readonly uid: number;
  readonly gid: number;
  readonly images: readonly {
    /** As quadlets have it. */
    readonly name: string;
    /** As skopeo has it: `oci:DIR:TAG`, `docker-archive:FILE`, `containers-storage:NAME`, `docker://NAME`. */
    readonly source: string;
  }[];
}

/** Of a large image from a slow registry. */
const copyTimeoutMs = 30 * 60_000;
const maxEntries = 100_000;

async function readBlob(layout: string, { digest }: Descriptor): Promise<Buffer> {
  return await readFile(join(layout, "blobs/sha256", hexOf(digest)));
}

/** Takes images into one layout, each once. @returns each with its id */
async function takeImages(layout: string, images: AppDescription["images"]): Promise<readonly AppImage[]> {
  const taken = new Map<string, Descriptor>();
  const found: AppImage[] = [];
  const index = join(layout, "index.json");
  for (const { name, source } of images) {
    await run("skopeo", ["copy", "--quiet", "--remove-signatures", source, `oci:${layout}:image`], {
      timeoutMs: copyTimeoutMs,
    });
    const [manifest] = parseIndex(await readFile(index), index).manifests;
    if (manifest === undefined)
      throw new MosError("document-invalid", `cannot use ${source}: it names no image`);
    const id = hexOf(parseManifest(await readBlob(layout, manifest), source).config.digest);
    taken.set(id, manifest);
    found.push({ name, id });
    // The next one is the only one again.
    await rm(index);
  }
  const manifests = [...taken].sort().map(([id, { mediaType, digest, size }]) => ({
    ...{ mediaType, digest, size, annotations: { "org.opencontainers.image.ref.name": imageName(id) } },
  }));
  await writeFile(index, `${JSON.stringify({ schemaVersion: 2, manifests })}\n`);
  return found;
}

/** Modes as they are the same wherever an app is built. */
async function setModes(tree: string): Promise<void> {
  for (const path of await pathsIn(tree, maxEntries)) {
    if (path !== imagesName && !path.startsWith(`${imagesName}/`)) continue;
    const at = join(tree, path);
    await chmod(at, (await stat(at)).isDirectory() ? 0o755 : 0o644);
  }
}

async function refuseOurs(directory: string): Promise<void> {
  for (const name of [manifestName, signatureName, imagesName]) {
    const isThere = await stat(join(directory, name)).then(
      () => true,
      () => false,
    );
    if (!isThere) continue;
    throw new MosError("app-invalid", `cannot make an app of ${directory}: ${name} is in it`, {
      about: directory,
      hint: "Make it of the quadlets and files as they were written.",
    });
  }
}

/**
 * Makes a bundle and its signature.
 * @param directory quadlets and files
 * @param archive where the bundle goes; its signature is `archive`.sig
 * @throws MosError `app-invalid`, `set-invalid`, `program-missing`, `program-failed`, `document-invalid`
 */
export async function buildApp(
  directory: string,
  archive: string,
  description: AppDescription,
  key: KeyObject,
): Promise<SetManifest> {
  await refuseOurs(directory);
  const work = await mkdtemp(join(tmpdir(), "mos-app-"));
  try {
    const tree = join(work, "tree");
    await cp(directory, tree, { recursive: true, verbatimSymlinks: true });
    const { name, version, serial, destination, uid, gid } = description;
    let images: readonly AppImage[] = [];
    if (description.images.length > 0) {
      await mkdir(join(tree, imagesName));
      images = await takeImages(join(tree, imagesName), description.images);
      await setModes(tree);
    }
    const ids = new Map(images.map((image) => [image.name, image.id]));
    for (const path of (await pathsIn(tree, maxEntries)).filter(isQuadlet)) {
      const at = join(tree, path);
      if (!(await stat(at)).isFile()) continue;
      await writeFile(at, withImageIds(path, await readFile(at, "utf8"), ids));
    }
    const app = { version, images: [...images] };
    const manifest = await makeSet(tree, { name, serial, destination, uid, gid, app }, key);
    if (unitsOf(manifest.entries).length === 0) {
      throw new MosError("app-invalid", `cannot make an app of ${directory}: nothing in it runs`, {
        about: directory,
        hint: "An app has quadlets (.container, .pod) or units (.service, .timer) in it.",
      });
    }
    await archiveSet(tree, archive, key);
    return manifest;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
