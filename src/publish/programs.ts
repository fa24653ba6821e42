// What each target starts, checked in the root that the target comes with: a program whose loader or libraries are
// not there would fail on every device, at its start.
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { checkProgram, type Start } from "../elf/program.ts";
import { RootTree } from "../elf/root-tree.ts";
import type { ImportManifest, ImportTarget } from "../manifest/schema.ts";
import { run } from "../system/process.ts";

/** What an image says of its start; names as in the OCI image specification, "config". */
export interface RunConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDirectory: string;
}

/** The program that the kernel starts in the root of a host (init/main.c, `kernel_init`). */
const init = "/sbin/init";
const unpackTimeoutMs = 60 * 60_000;

/** What a target starts; undefined when it starts nothing, or something that is not in its own root. */
function startOf(target: ImportTarget, config: RunConfig): Start | undefined {
  if (target.service_type === "fs-only") return undefined;
  if (target.service_type === "hostfs") return { program: init, environment: [], workingDirectory: "/" };
  const program = config.entrypoint[0] ?? config.cmd[0];
  if (program === undefined) return undefined;
  const isElsewhere =
    target.storage.some(({ dest }) => program.startsWith(`${dest}/`)) ||
    target.files?.some(({ dest }) => dest === program) === true;
  return isElsewhere
    ? undefined
    : { program, environment: config.env, workingDirectory: config.workingDirectory };
}

/**
 * Refuses a target whose program could not start in its own root.
 * @param layers directories, the topmost first
 * @throws MosError `program-unresolved`, `program-malformed`, `permission-denied`, `io-failed`
 */
export function checkTarget(target: ImportTarget, config: RunConfig, layers: readonly string[]): void {
  const start = startOf(target, config);
  if (start !== undefined) checkProgram(new RootTree(layers), start, `the root of ${target.service_name}`);
}

/** What a `rootfs:` target starts. */
export function runConfigOf({ image }: ImportTarget): RunConfig {
  return {
    entrypoint: image?.entrypoint ?? [],
    cmd: image?.cmd ?? [],
    env: image?.env ?? [],
    workingDirectory: image?.working_dir ?? "",
  };
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
 * Checks the programs of all `rootfs:` sources that are there already.
 * @param baseDirectory what relative paths in the manifest are relative to
 * @returns names of the services that were checked
 * @throws MosError `program-unresolved`, `program-malformed`, `permission-denied`, `io-failed`, `program-failed`
 */
export async function checkRoots(
  manifest: ImportManifest,
  baseDirectory: string,
): Promise<readonly string[]> {
  const checked: string[] = [];
  const work = await mkdtemp(join(tmpdir(), "mosb-"));
  try {
    for (const target of manifest.targets) {
      const config = runConfigOf(target);
      if (!target.source.startsWith("rootfs:") || startOf(target, config) === undefined) continue;
      const path = resolve(baseDirectory, target.source.slice("rootfs:".length));
      const found = await stat(path).catch(() => undefined);
      if (found === undefined) continue;
      checkTarget(target, config, [found.isDirectory() ? path : await unpackForLook(path, work)]);
      checked.push(target.service_name);
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return checked;
}
