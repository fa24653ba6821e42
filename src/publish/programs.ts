// What each target starts, checked in the root that the target comes with: a program whose loader or libraries are
// not there would fail on every device, at its start.
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { checkProgram, type Start } from "../elf/program.ts";
import { RootTree } from "../elf/root-tree.ts";
import type { ImportManifest, ImportTarget } from "../manifest/schema.ts";
import type { ImageConfig } from "../oci/model.ts";
import { argvOf, environmentOf, workingDirectoryOf } from "../services/process.ts";
import { run } from "../system/process.ts";
import { checkReadOnlyPaths } from "./read-only-paths.ts";

/** The program that the kernel starts in the root of a host (init/main.c, `kernel_init`). */
const init = "/sbin/init";
const unpackTimeoutMs = 60 * 60_000;

/** What an image says of its start; undefined for a root that is packed here. */
type OwnConfig = ImageConfig["config"];

/** What a target starts; undefined when it starts nothing, or something that is not in its own root. */
function startOf(target: ImportTarget, own: OwnConfig): Start | undefined {
  if (target.service_type === "fs-only") return undefined;
  if (target.service_type === "hostfs") return { program: init, environment: [], workingDirectory: "/" };
  const [program] = argvOf(target.image, own);
  if (program === undefined) return undefined;
  const isElsewhere =
    target.storage.some(({ dest }) => program.startsWith(`${dest}/`)) ||
    target.files?.some(({ dest }) => dest === program) === true;
  return isElsewhere
    ? undefined
    : {
        program,
        environment: environmentOf(target.image, own),
        workingDirectory: workingDirectoryOf(target.image, own),
      };
}

/** Whether a target names something that has to be in its own root. */
export function needsItsRoot(target: ImportTarget, own: OwnConfig): boolean {
  return startOf(target, own) !== undefined || (target.security?.read_only_paths ?? []).length > 0;
}

/**
 * Refuses a target whose program could not start in its own root.
 * @throws MosError `program-unresolved`, `program-malformed`, `permission-denied`, `io-failed`
 */
export function checkTarget(target: ImportTarget, own: OwnConfig, root: RootTree): void {
  const start = startOf(target, own);
  if (start !== undefined) checkProgram(root, start, `the root of ${target.service_name}`);
}

/**
 * Unpacks an archive to be looked into: without its owners, which needs no privilege, and without devices.
 * @param workDirectory where the new directory is made; the caller removes it
 * @throws MosError `program-failed`, `program-missing`
 */
export async function unpackForLook(archive: string, workDirectory: string): Promise<string> {
  const directory = await mkdtemp(join(workDirectory, "look-"));
  const args = ["--no-same-owner", "--exclude=./dev/*", "--exclude=dev/*", "--directory", directory];
  await run("tar", ["--extract", "--file", archive, ...args], { timeoutMs: unpackTimeoutMs });
  return directory;
}

/**
 * Checks what is named of all `rootfs:` sources that are there already: programs, and paths that are to stay read-only.
 * @param baseDirectory what relative paths in the manifest are relative to
 * @returns names of the services that were checked
 * @throws MosError `program-unresolved`, `program-malformed`, `source-invalid`, `permission-denied`, `io-failed`,
 * `program-failed`
 */
export async function checkRoots(
  manifest: ImportManifest,
  baseDirectory: string,
): Promise<readonly string[]> {
  const checked: string[] = [];
  const work = await mkdtemp(join(tmpdir(), "mosb-"));
  try {
    for (const target of manifest.targets) {
      if (!target.source.startsWith("rootfs:") || !needsItsRoot(target, undefined)) continue;
      const path = resolve(baseDirectory, target.source.slice("rootfs:".length));
      const found = await stat(path).catch(() => undefined);
      if (found === undefined) continue;
      const tree = found.isDirectory() ? path : await unpackForLook(path, work);
      const root = new RootTree([tree]);
      checkTarget(target, undefined, root);
      checkReadOnlyPaths(target, root);
      checked.push(target.service_name);
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return checked;
}
