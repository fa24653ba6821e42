// The volumes of the generation that runs: what there is, and copies of what is in them, as tar archives with the owners
// that services see. A volume is held by a unit of its own as long as somebody works on it, because one that no service
// uses is not mounted.
import { createHash } from "node:crypto";
import { lstat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { readIdMaps } from "../generation/idmaps.ts";
import type { Volume } from "../manifest/schema.ts";
import { firstIdOf } from "../services/render.ts";
import { serviceUnit } from "../services/unit-names.ts";
import { volumeNeeds, volumeSource } from "../services/volumes.ts";
import { runPiped } from "../system/process.ts";
import { readContent, writeContent } from "../volumes/content.ts";
import { loadActive } from "./active.ts";
import type { AgentContext } from "./context.ts";

interface VolumeState {
  readonly label: string;
  readonly nsgroup: string;
  readonly persistent: boolean;
  readonly enforced: boolean;
  /** MiB, as the manifest has it. */
  readonly size: number;
  readonly path: string;
  /** Bytes in use and in all, where it is a file system of its own and mounted. */
  readonly space?: { readonly used: number; readonly total: number };
  readonly services: readonly { readonly name: string; readonly isRunning: boolean }[];
}

interface KnownVolume {
  readonly volume: Volume;
  readonly firstId: number | undefined;
  readonly services: readonly string[];
}

async function knownVolumes(context: AgentContext): Promise<KnownVolume[]> {
  const { loaded } = await loadActive(context);
  if (loaded === undefined) return [];
  const { storage, targets } = loaded.manifest;
  const idmaps = await readIdMaps(context.places);
  return storage.map((volume) => ({
    volume,
    firstId: firstIdOf(volume.nsgroup, idmaps),
    services: targets
      .filter((target) => target.storage.some(({ label }) => label === volume.label))
      .map(({ service_name }) => service_name),
  }));
}

async function runningOf({ systemd }: AgentContext, services: readonly string[]): Promise<string[]> {
  if (services.length === 0) return [];
  const shown = await systemd.showUnits(services.map(serviceUnit), ["ActiveState"]);
  const down = ["inactive", "failed"];
  return services.filter((_, i) => !down.includes(shown[i]?.["ActiveState"] ?? "inactive"));
}

async function spaceOf({ persistent, enforce }: Volume, path: string): Promise<VolumeState["space"]> {
  if (persistent && enforce !== true) return undefined;
  try {
    const [own, above] = [await lstat(path), await lstat(join(path, ".."))];
    if (own.dev === above.dev) return undefined;
    const { bsize, blocks, bfree } = await statfs(path);
    return { used: (blocks - bfree) * bsize, total: blocks * bsize };
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** @throws MosError of the generation that should run */
export async function listVolumes(context: AgentContext): Promise<VolumeState[]> {
  const known = await knownVolumes(context);
  const running = new Set(await runningOf(context, [...new Set(known.flatMap(({ services }) => services))]));
  return await Promise.all(
    known.map(async ({ volume, services }): Promise<VolumeState> => {
      const path = volumeSource(volume, context.places);
      const space = await spaceOf(volume, path);
      return {
        label: volume.label,
        nsgroup: volume.nsgroup,
        persistent: volume.persistent,
        enforced: !volume.persistent || volume.enforce === true,
        size: volume.size,
        path,
        ...(space === undefined ? {} : { space }),
        services: services.map((name) => ({ name, isRunning: running.has(name) })),
      };
    }),
  );
}

export interface VolumeWork {
  /** Stop the services that use it, and start them again. */
  readonly stop: boolean;
  /** Copy it although services may be writing to it. */
  readonly live: boolean;
}

/** Keeps the volume there, and others from working on it, as long as this process lives. */
async function hold(context: AgentContext, volume: Volume): Promise<() => Promise<void>> {
  const id = createHash("sha256").update(volume.label).digest("hex").slice(0, 16);
  const unit = volumeNeeds(volume, context.places);
  // systemd-run(1) takes what it sets for quoted words.
  const quoted = unit.replaceAll("\\", "\\\\");
  const properties = [`--property=Requires=${quoted}`, `--property=After=${quoted}`];
  const args = ["--quiet", "--collect", "--pipe", "--wait", `--unit=mos-hold-${id}`, ...properties, "cat"];
  const holder = await runPiped("systemd-run", args);
  const output = holder.stdout[Symbol.asyncIterator]();
  // It answers when everything that it needs is there.
  holder.stdin.write("there\n");
  if ((await output.next()).done === true) {
    await holder.ended.catch((error: unknown) => {
      const isHeld = error instanceof MosError && error.message.includes("already");
      if (!isHeld) throw error;
      throw new MosError("volume-in-use", `somebody works on the volume ${volume.label} already`, {
        about: volume.label,
        hint: "Wait for its end.",
      });
    });
    throw new MosError("systemd-failed", `cannot mount the volume ${volume.label}`, { about: unit });
  }
  return async () => {
    holder.stdin.end();
    await output.next();
    await holder.ended;
  };
}

/** A volume that may be worked on, and which of its services run. */
interface CheckedVolume {
  readonly found: KnownVolume;
  readonly running: readonly string[];
}

/**
 * Sees whether a volume may be worked on.
 * @throws MosError `volume-unknown`, `volume-in-use`
 */
export async function checkVolume(
  context: AgentContext,
  label: string,
  { stop, live }: VolumeWork,
  doing: string,
): Promise<CheckedVolume> {
  const found = (await knownVolumes(context)).find(({ volume }) => volume.label === label);
  if (found === undefined)
    throw new MosError("volume-unknown", `there is no volume ${label} on this device`, { about: label });
  const running = await runningOf(context, found.services);
  if (running.length > 0 && !stop && !live)
    throw new MosError(
      "volume-in-use",
      `cannot ${doing} the volume ${label}: ${running.join(", ")} uses it`,
      {
        about: label,
      },
    );
  return { found, running };
}

async function withVolume<T>(
  context: AgentContext,
  label: string,
  how: VolumeWork,
  doing: string,
  work: (path: string, firstId: number | undefined) => Promise<T>,
): Promise<T> {
  const { found, running } = await checkVolume(context, label, how, doing);
  const units = how.stop ? running.map(serviceUnit) : [];
  // Before anything stops: a volume that nobody needs any more would be unmounted, and just then asked for again.
  const release = await hold(context, found.volume);
  try {
    if (units.length > 0) await context.systemd.stopUnits(units);
    try {
      return await work(volumeSource(found.volume, context.places), found.firstId);
    } finally {
      if (units.length > 0) await context.systemd.startUnits(units);
    }
  } finally {
    await release();
  }
}

/**
 * Writes what is in a volume as a tar archive.
 * @throws MosError `volume-unknown`, `volume-in-use`, `archive-refused` for a file of an owner outside of the nsgroup,
 * `program-failed`
 */
export async function exportVolume(
  context: AgentContext,
  label: string,
  how: VolumeWork,
  to: NodeJS.WritableStream,
): Promise<void> {
  await withVolume(context, label, how, "export", (path, firstId) => readContent(path, firstId, to));
}

/**
 * Puts what a tar archive has into a volume, instead of what is there.
 * @throws MosError `volume-unknown`, `volume-in-use`, `archive-refused`, `program-failed`
 */
export async function importVolume(
  context: AgentContext,
  label: string,
  stop: boolean,
  from: AsyncIterable<Uint8Array>,
): Promise<void> {
  await withVolume(context, label, { stop, live: false }, "import", (path, firstId) =>
    writeContent(path, firstId, from),
  );
}
