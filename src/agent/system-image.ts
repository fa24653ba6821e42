// The system that a manifest brings: the kernel image of its bootkit target and the root of its hostfs target, which
// have to belong together before anything of them is written where the device starts from.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isStartedBy } from "../boot/command-line.ts";
import type { NewEntry } from "../boot/esp-entries.ts";
import { checkPair } from "../boot/pair.ts";
import { ukiFacts } from "../boot/uki-facts.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { inspectLayer } from "../layers/inspect.ts";
import { rootHashOf } from "../layers/media-type.ts";
import { defaultGate } from "../manifest/health-schema.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import { limits, mediaTypes, parseManifest } from "../oci/model.ts";
import { discard } from "../system/atomic-file.ts";
import type { AgentContext } from "./context.ts";
import { hostfsOf, type StartedSystem } from "./started.ts";

/** Opens a layer under dm-verity and copies the kernel image out of it (packaging/boot). */
const reader = "/usr/lib/mos/bootkit-kernel";

/** A system that can be started: its kernel image, and what is known of that. */
export interface SystemImage {
  readonly entry: NewEntry;
  readonly bytes: Uint8Array;
}

/** The kernel image of the target `bootkit`, read block by block under the root hash that was signed. */
async function readKernel(
  context: AgentContext,
  store: Layout,
  { digest, size }: { readonly digest: InstallManifest["targets"][number]["digest"]; readonly size: number },
): Promise<Uint8Array> {
  const bytes = await store.smallBlob({ mediaType: mediaTypes.manifest, digest, size }, limits.manifest);
  const { layers } = parseManifest(bytes, "image of bootkit");
  const [layer] = layers;
  if (layer === undefined || layers.length > 1) {
    throw new MosError("layer-unsupported", `cannot use a bootkit of ${layers.length} layers: it has one`, {
      about: digest,
    });
  }
  const blob = store.blobPath(layer.digest);
  const { kind, hashOffset } = await inspectLayer(blob, layer);
  // Memory below /run is small; what is left of it after a power cut is collected with other leftovers.
  const copy = join(context.places.state, ".bootkit-kernel.tmp");
  try {
    await context.systemd.runOnce(reader, blob, String(hashOffset), rootHashOf(layer), kind, copy);
    return await readFile(copy);
  } catch (error) {
    throw asMosError(error, "bootkit");
  } finally {
    await discard(copy);
  }
}

/**
 * The system of a manifest, when it is another one than the one that runs.
 * @param started what runs; where that is nothing that mos has started, boot targets are stored and not used
 * @throws MosError `boot-pair-mismatch`, `layer-unsupported` for a bootkit of several layers, `efi-image-malformed`, and of reading the layers
 */
export async function otherSystem(
  context: AgentContext,
  store: Layout,
  manifest: InstallManifest,
  started: StartedSystem | undefined,
): Promise<SystemImage | undefined> {
  const bootkit = manifest.targets.find(({ service_name }) => service_name === "bootkit");
  if (started === undefined || bootkit === undefined) return undefined;
  const hostfs = await hostfsOf(store, manifest);
  if (hostfs === undefined) return undefined;
  const bytes = await readKernel(context, store, bootkit);
  const facts = ukiFacts(bytes, "kernel image of bootkit");
  checkPair(facts.commandLine, hostfs);
  if (isStartedBy(started.commandLine, facts.commandLine)) return undefined;
  const digest = createHash("sha256").update(bytes).digest("hex");
  const { tries } = manifest.health ?? defaultGate;
  return { bytes, entry: { ...facts, digest, bytes: bytes.length, tries } };
}
