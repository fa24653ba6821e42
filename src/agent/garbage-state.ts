// What is on the disk, gathered for the plan of what goes (src/generation/garbage.ts). Reads only.
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { readFailures } from "../generation/failures.ts";
import type { Needs, Sized, StateOnDisk, StoredGeneration } from "../generation/garbage.ts";
import { listGenerations, pointedGeneration, readGeneration } from "../generation/generations.ts";
import { readIdMaps } from "../generation/idmaps.ts";
import { readJournal } from "../generation/journal.ts";
import { generationPath, generationsPath, storePath } from "../generation/places.ts";
import { storedManifest } from "../generation/stored-manifest.ts";
import type { InstallManifest, Target } from "../manifest/schema.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { Layout } from "../oci/layout.ts";
import { limits, mediaTypes, parseManifest } from "../oci/model.ts";
import { networkNames } from "../services/networks.ts";
import { groupsOf } from "../services/render.ts";
import { networkOfFile, volumePath } from "../services/unit-names.ts";
import { mountUnitName } from "../systemd/escape.ts";
import type { AgentContext } from "./context.ts";

/** Names in a directory; none when it is not there. */
async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** Bytes that the disk gets back with a file or a tree: st_blocks is in units of 512 bytes, stat(2). */
async function bytesOf(path: string): Promise<number> {
  const stat = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (stat === undefined) return 0;
  let bytes = stat.blocks * 512;
  if (stat.isDirectory()) for (const name of await readdir(path)) bytes += await bytesOf(join(path, name));
  return bytes;
}

/** Image manifests and the layers that they name; read once for all generations. */
class Images {
  private readonly store: Layout | undefined;
  private readonly known = new Map<Digest, readonly Digest[]>();

  constructor(store: Layout | undefined) {
    this.store = store;
  }

  /** @throws MosError when the image manifest is missing or damaged */
  async blobsOf({ digest, size, service_name }: Target): Promise<readonly Digest[]> {
    const known = this.known.get(digest);
    if (known !== undefined) return known;
    const descriptor = { mediaType: mediaTypes.manifest, digest, size };
    if (this.store === undefined) throw new MosError("not-found", "there is no store");
    const bytes = await this.store.smallBlob(descriptor, limits.manifest);
    const { config, layers } = parseManifest(bytes, `image of ${service_name}`);
    const blobs = [digest, config.digest, ...layers.map((layer) => layer.digest)];
    this.known.set(digest, blobs);
    return blobs;
  }
}

async function needsOf(manifest: InstallManifest, images: Images): Promise<Needs> {
  const blobs = new Set<Digest>();
  for (const target of manifest.targets) for (const blob of await images.blobsOf(target)) blobs.add(blob);
  const inMemory = manifest.storage.filter(({ persistent }) => !persistent);
  return {
    blobs,
    groups: new Set(groupsOf(manifest)),
    volumes: new Set(inMemory.map(({ label }) => label)),
    networks: new Set(networkNames(manifest.targets)),
  };
}

async function storedGeneration(
  { places }: AgentContext,
  number: number,
  images: Images,
): Promise<StoredGeneration> {
  const bytes = await bytesOf(generationPath(places, number));
  try {
    const manifest = storedManifest(await readGeneration(places, number));
    return { number, bytes, needs: await needsOf(manifest, images) };
  } catch (error) {
    if (error instanceof MosError) return { number, bytes, needs: undefined };
    throw error;
  }
}

async function pinnedGenerations({ places }: AgentContext): Promise<ReadonlySet<number>> {
  const [current, previous, journal] = await Promise.all([
    pointedGeneration(places, "current"),
    pointedGeneration(places, "previous"),
    readJournal(places),
  ]);
  return new Set(
    [current, previous, journal?.from, journal?.to].filter((number) => typeof number === "number"),
  );
}

async function failedGenerations({ places }: AgentContext): Promise<ReadonlySet<number>> {
  try {
    return new Set((await readFailures(places)).map(({ generation }) => generation));
  } catch (error) {
    // What is damaged says nothing; then a generation that failed counts as any other.
    if (error instanceof MosError) return new Set();
    throw error;
  }
}

async function storedBlobs({ places }: AgentContext): Promise<Sized<Digest>[]> {
  const directory = join(storePath(places), "blobs", "sha256");
  const found: Sized<Digest>[] = [];
  for (const name of (await namesIn(directory)).sort()) {
    const digest = `sha256:${name}`;
    if (isDigest(digest)) found.push({ name: digest, bytes: await bytesOf(join(directory, name)) });
  }
  return found;
}

/** Every writer of these holds the lock of the transaction, as we do: whatever has such a name belongs to nobody. */
async function leftovers({ places }: AgentContext): Promise<Sized<string>[]> {
  const store = storePath(places);
  const temporary = /^\..+\.tmp$/;
  const directories: readonly (readonly [path: string, pattern: RegExp])[] = [
    [places.state, temporary],
    [generationsPath(places), temporary],
    [join(places.state, "trust"), temporary],
    [store, /^(\..+\.tmp|\.partial-.+)$/],
    [join(store, "blobs", "sha256"), temporary],
  ];
  const found: Sized<string>[] = [];
  for (const [directory, pattern] of directories) {
    for (const name of (await namesIn(directory)).filter((one) => pattern.test(one)).sort()) {
      const path = join(directory, name);
      found.push({ name: path, bytes: await bytesOf(path) });
    }
  }
  return found;
}

async function volumeOwners({ places }: AgentContext): Promise<number[]> {
  const directory = join(places.state, "volumes");
  const owners: number[] = [];
  for (const name of await namesIn(directory)) owners.push((await lstat(join(directory, name))).uid);
  return owners;
}

function withoutSuffix(names: readonly string[], pattern: RegExp): string[] {
  return names.flatMap((name) => pattern.exec(name)?.[1] ?? []);
}

/**
 * Gathers everything that the plan needs to know.
 * @throws MosError `state-invalid` when it is not known which generations run: then nothing may go
 */
export async function readStateOnDisk(context: AgentContext): Promise<StateOnDisk> {
  const { places } = context;
  const pinned = await pinnedGenerations(context);
  const store = await Layout.open(storePath(places)).catch((error: unknown) => {
    if (error instanceof MosError && error.code === "not-found") return undefined;
    throw error;
  });
  const images = new Images(store);
  const generations: StoredGeneration[] = [];
  for (const number of await listGenerations(places))
    generations.push(await storedGeneration(context, number, images));
  const volumes = await namesIn(join(places.run, "volumes"));
  const units = new Set(await namesIn(context.unitDirectory));
  return {
    generations,
    pinned,
    failed: await failedGenerations(context),
    blobs: await storedBlobs(context),
    leftovers: await leftovers(context),
    volumes,
    networks: withoutSuffix(await namesIn(context.networkDirectory), /^(mos-.+)\.json$/),
    live: {
      volumes: new Set(volumes.filter((label) => units.has(mountUnitName(volumePath(places, label, false))))),
      networks: new Set(
        [...(await namesIn(context.quadletDirectory)), ...units].flatMap((name) => networkOfFile(name) ?? []),
      ),
    },
    idmaps: await readIdMaps(places),
    volumeOwners: await volumeOwners(context),
  };
}
