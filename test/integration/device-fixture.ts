// A device in a directory: where its state is, how it is updated, and what of it an update may not change when it is
// refused. Nothing of vitest in here, because programs that tests start use it too.
import { lstat, readdir, readFile, readlink } from "node:fs/promises";
import { join, relative } from "node:path";
import type { AgentContext } from "../../src/agent/context.ts";
import { type UpdateOptions, update } from "../../src/agent/update.ts";
import { asMosError, type MosError } from "../../src/errors/mos-error.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { builtInPolicy } from "../../src/trust/policy.ts";
import { impatientClock, memoryManager } from "../memory-manager.ts";

/** A device whose state, units and anchor (`ca.pem`) are below `root`. */
export function contextIn(root: string): AgentContext {
  return {
    places: { state: join(root, "state"), run: join(root, "run") },
    unitDirectory: join(root, "systemd"),
    quadletDirectory: join(root, "quadlet"),
    withoutQuadlet: join(root, "without-quadlet"),
    networkDirectory: join(root, "networks"),
    trust: {
      policies: [join(root, "policy.json")],
      builtIn: { ...builtInPolicy, anchors: [`file:${join(root, "ca.pem")}`] },
      initrd: join(root, "initrd"),
      efivars: join(root, "efivars"),
      tpm: { kind: "device", path: join(root, "tpm") },
      deviceCertificates: [join(root, "server.crt")],
      measurements: { firmware: join(root, "firmware.log"), systemd: join(root, "systemd.log") },
    },
    systemd: memoryManager(),
    clock: impatientClock(),
    fetchSettings: [join(root, "fetch.json")],
    updateSettings: [join(root, "update.json")],
    machineId: join(root, "machine-id"),
    boot: { commandLine: join(root, "cmdline"), esp: [join(root, "efi")] },
    recovery: {
      device: join(root, "medium"),
      directory: join(root, "recovery"),
      factory: join(root, "factory"),
    },
    buildTime: new Date(0),
  };
}

/** How an update ended: `updated`, `unchanged` and `repaired` are its outcomes, everything else is an error's code. */
export interface Ending extends Pick<MosError, "message" | "about" | "hint" | "problems" | "cause"> {
  readonly code: string;
  readonly exitCode: number;
}

export async function updateEnding(
  device: AgentContext,
  reference: string,
  onStep: (step: string) => void = () => undefined,
  options: UpdateOptions = { allowOlder: false, retry: false },
): Promise<Ending> {
  try {
    const { outcome } = await update(device, reference, options, (event) => {
      if (event.kind === "step") onStep(event.step);
    });
    return { code: outcome, exitCode: 0, message: "", about: undefined, hint: "", problems: [] };
  } catch (error) {
    return asMosError(error);
  }
}

async function describeEntry(path: string): Promise<string> {
  const stat = await lstat(path);
  if (stat.isSymbolicLink()) return `-> ${await readlink(path)}`;
  const mode = (stat.mode & 0o7777).toString(8);
  return stat.isFile() ? `${mode} ${digestOf(await readFile(path))}` : mode;
}

/** All that a device must not lose or gain by a refused update: state without the store, and the live units. */
export async function snapshot({ places, unitDirectory, quadletDirectory }: AgentContext): Promise<string[]> {
  const lines: string[] = [];
  for (const root of [places.state, unitDirectory, quadletDirectory]) {
    for (const name of await readdir(root, { recursive: true }).catch(() => [])) {
      if (root === places.state && /^oci(\/|$)/.test(name)) continue;
      lines.push(`${relative(places.state, join(root, name))} ${await describeEntry(join(root, name))}`);
    }
  }
  return lines.sort();
}
