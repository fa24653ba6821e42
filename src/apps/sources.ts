// What is given to be installed as an app: one bundle, an archive that was made for containers/validator, the directory
// of a set, or a directory of bundles.
import { existsSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { asMosError, type ErrorDocument } from "../errors/mos-error.ts";
import { withSetTree } from "../signed-sets/open-source.ts";
import { manifestName } from "../signed-sets/set-manifest.ts";
import { type AppDevice, type AppOptions, type ChangedApp, installApp, installArchive } from "./apps.ts";
import { isNumberedArchive, readNumberedApp } from "./numbered-archive.ts";

const bundleName = /\.(?:tar|tgz|tar\.gz|tar\.zst)$/;

/** The bundles in a directory, by name; undefined for what is no directory of bundles. */
export async function bundlesIn(source: string): Promise<readonly string[] | undefined> {
  const found = await stat(source).catch(() => undefined);
  if (found?.isDirectory() !== true || existsSync(join(source, manifestName))) return undefined;
  const names = (await readdir(source)).filter((name) => bundleName.test(name) && !name.startsWith("."));
  return names.sort(new Intl.Collator("en", { numeric: true }).compare).map((name) => join(source, name));
}

/**
 * Installs one bundle, archive or directory of a set.
 * @throws MosError `signed-source-unusable`, `signed-file-unsigned`, `signed-file-invalid`, `archive-refused`, and what
 * {@link installApp} throws
 */
export async function installSource(
  device: AppDevice,
  source: string,
  options: AppOptions,
): Promise<ChangedApp> {
  const { keys, state, root } = device;
  return await withSetTree(source, keys, state, async (tree) => {
    if (!isNumberedArchive(source) || existsSync(join(tree, manifestName))) {
      return await installApp(device, tree, options);
    }
    return await installArchive(device, source, await readNumberedApp(source, tree, root, keys), options);
  });
}

/**
 * What came of a bundle; `older`: what is installed is newer, or the device went back from this one; `failed-before`: it
 * did not run.
 */
interface InstalledBundle {
  readonly bundle: string;
  readonly outcome: ChangedApp["outcome"] | "older" | "failed-before" | "refused";
  readonly app?: ChangedApp;
  readonly error?: ErrorDocument;
}

/** Installs bundles one after the other; one that is refused stops none of the others. */
export async function installBundles(
  device: AppDevice,
  bundles: readonly string[],
  force: boolean,
): Promise<readonly InstalledBundle[]> {
  const done: InstalledBundle[] = [];
  for (const bundle of bundles) {
    try {
      const app = await installSource(device, bundle, { force, unattended: true });
      done.push({ bundle, outcome: app.outcome, app });
    } catch (thrown) {
      const error = asMosError(thrown);
      if (error.code === "app-failed-before") done.push({ bundle, outcome: "failed-before" });
      else if (error.code === "set-older") done.push({ bundle, outcome: "older" });
      else done.push({ bundle, outcome: "refused", error: error.toDocument() });
    }
  }
  return done;
}
