// Which system runs: the kernel's command line, which was signed, says from what it was started. Light, because every
// start of the agent asks.
import { readFile } from "node:fs/promises";
import { isStartedBy, type NamedRoot, namedRoot, type RootLayer } from "../boot/command-line.ts";
import { systemCode } from "../errors/mos-error.ts";
import type { SystemChange, Transaction } from "../generation/transaction.ts";
import { rootHashOf } from "../layers/media-type.ts";
import type { InstallManifest } from "../manifest/schema.ts";
import type { Layout } from "../oci/layout.ts";
import { limits, mediaTypes, parseManifest } from "../oci/model.ts";
import type { AgentContext } from "./context.ts";

/** The system that runs; undefined when it was not started from a root that mos can update. */
export interface StartedSystem {
  readonly commandLine: string;
  readonly root: NamedRoot;
}

export async function startedSystem({ boot }: AgentContext): Promise<StartedSystem | undefined> {
  let commandLine: string;
  try {
    commandLine = (await readFile(boot.commandLine, "utf8")).trim();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
  const root = namedRoot(commandLine);
  return root === undefined ? undefined : { commandLine, root };
}

/** Which of a transaction's systems runs; undefined when both are the same. */
export async function startedSide(
  context: AgentContext,
  { system }: Transaction,
): Promise<keyof SystemChange | undefined> {
  if (system === undefined) return undefined;
  const started = await startedSystem(context);
  return started !== undefined && isStartedBy(started.commandLine, system.to) ? "to" : "from";
}

/**
 * Layers of the root that a manifest brings, the lowest first; undefined when it brings none.
 * @throws MosError when the image's manifest is not in the store, or damaged
 */
export async function hostfsOf(
  store: Layout,
  manifest: InstallManifest,
): Promise<readonly RootLayer[] | undefined> {
  const target = manifest.targets.find(({ service_type }) => service_type === "hostfs");
  if (target === undefined) return undefined;
  const { digest, size } = target;
  const bytes = await store.smallBlob({ mediaType: mediaTypes.manifest, digest, size }, limits.manifest);
  const { layers } = parseManifest(bytes, `image of ${target.service_name}`);
  if (layers.length === 0) return undefined;
  return layers.map((layer) => ({ digest: layer.digest, rootHash: rootHashOf(layer) }));
}
