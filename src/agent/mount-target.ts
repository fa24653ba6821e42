// mosctl mount and create-boot-fs: a target of the generation that runs, verified anew, as a file system at a path. The
// layers are opened under dm-verity by the root hashes that were signed; what is written goes to memory.
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { storePath } from "../generation/places.ts";
import { Layout } from "../oci/layout.ts";
import { makeDirectory } from "../system/atomic-file.ts";
import { run } from "../system/process.ts";
import { loadActive } from "./active.ts";
import type { AgentContext } from "./context.ts";
import { type LoadedImage, loadImage } from "./load.ts";

interface MountRequest {
  /** Name of the target. */
  readonly target: string;
  /** Where it is mounted; made when it is not there. */
  readonly destination: string;
  /** Nothing can be written to it. */
  readonly readOnly: boolean;
}

export interface Mounted {
  readonly generation: number;
  readonly target: string;
  readonly version: string;
  readonly destination: string;
  readonly readOnly: boolean;
  /** Root hashes of its layers, the lowest first. */
  readonly layers: readonly string[];
}

/** What was done, the last first; undone when something later fails. */
type Undo = (() => Promise<unknown>)[];

async function undoAll(undo: Undo): Promise<void> {
  for (const step of undo.toReversed()) await step().catch(() => undefined);
}

/** Opens and mounts a layer. It is closed by the kernel when nobody has it mounted any more. */
async function mountLayer(
  { blob, hashOffset, kind, rootHash }: LoadedImage["layers"][number],
  directory: string,
  undo: Undo,
): Promise<void> {
  const device = `mos-mount-${rootHash.slice(0, 16)}`;
  await makeDirectory(directory, 0o700);
  if (existsSync(`/dev/mapper/${device}`)) {
    throw new MosError(
      "program-failed",
      `cannot mount the layer ${rootHash}: it is mounted by this command already`,
      {
        about: `/dev/mapper/${device}`,
        hint: "Unmount it first.",
      },
    );
  }
  await run("veritysetup", ["open", `--hash-offset=${hashOffset}`, blob, device, blob, rootHash]);
  undo.push(() => run("veritysetup", ["close", "--deferred", device]));
  await run("mount", ["-t", kind, "-o", "ro", `/dev/mapper/${device}`, directory]);
  undo.push(() => run("umount", [directory]));
  await run("veritysetup", ["close", "--deferred", device]);
}

async function mountAll(
  { layers }: LoadedImage,
  place: string,
  { destination, readOnly }: MountRequest,
  undo: Undo,
): Promise<void> {
  await makeDirectory(destination);
  const [only] = layers;
  if (readOnly && only !== undefined && layers.length === 1) return await mountLayer(only, destination, undo);
  const mounts = layers.map((_, at) => join(place, `layer${at}`));
  for (const [at, layer] of layers.entries()) await mountLayer(layer, mounts[at] ?? place, undo);
  const lower = mounts.toReversed().join(":");
  const options = [`lowerdir=${lower}`];
  if (!readOnly) {
    for (const name of ["upper", "work"]) {
      await makeDirectory(join(place, name));
      options.push(`${name}dir=${join(place, name)}`);
    }
  }
  await run("mount", ["-t", "overlay", "-o", options.join(","), "overlay", destination]);
  undo.push(() => run("umount", [destination]));
  // The overlay has mounts of its own of what it was made of: with it the last of them go.
  for (const directory of mounts) await run("umount", [directory]);
}

/**
 * Mounts a target of the generation that runs.
 * @throws MosError `no-generation`, `not-found` for a target that it has not, what verifying throws, `program-failed`;
 * nothing is left mounted then
 */
export async function mountTarget(context: AgentContext, request: MountRequest): Promise<Mounted> {
  const { loaded } = await loadActive(context);
  if (loaded === undefined) {
    throw new MosError("no-generation", "cannot mount anything: no manifest was applied on this device");
  }
  const target = loaded.manifest.targets.find(({ service_name }) => service_name === request.target);
  if (target === undefined) {
    const names = loaded.manifest.targets.map(({ service_name }) => service_name).join(", ");
    throw new MosError(
      "not-found",
      `cannot mount ${request.target}: generation ${loaded.number} has no such target`,
      {
        about: request.target,
        hint: `It has ${names}.`,
      },
    );
  }
  const image = await loadImage(await Layout.open(storePath(context.places)), target);
  const mounts = join(context.places.run, "mounts");
  await makeDirectory(mounts, 0o700);
  const place = join(mounts, `${target.service_name}-${randomBytes(6).toString("hex")}`);
  await makeDirectory(place, 0o700);
  const undo: Undo = [];
  try {
    await mountAll(image, place, request, undo);
  } catch (error) {
    await undoAll(undo);
    throw error;
  }
  return {
    generation: loaded.number,
    target: target.service_name,
    version: target.version,
    destination: request.destination,
    readOnly: request.readOnly,
    layers: image.layers.map(({ rootHash }) => rootHash),
  };
}
