// Installing an archive that was made for containers/validator. Its two parts, data and quadlets, are sets of their own,
// one after the other, data first. What is kept of a version is the archive with its signature, which is checked again
// whenever the version comes back.

import type { InstalledSet } from "../signed-sets/bring.ts";
import { installSet, removeSet, type SetNeeds } from "../signed-sets/install-set.ts";
import { type Ledger, readLedgers } from "../signed-sets/ledger.ts";
import { withSetTree } from "../signed-sets/open-source.ts";
import type { AppDevice, AppOptions } from "./apps.ts";
import { keepArchive, keptArchive, notKept } from "./kept.ts";
import { dataName, type MadeSet, type NumberedApp, readNumberedApp } from "./numbered-archive.ts";

/** How a version is installed; `kept`: it comes back. */
type Options = AppOptions & { readonly kept: boolean };

const nothing = async (): Promise<void> => undefined;

/** Runs `work` on an archive, whose signature is checked. @throws MosError as withSetTree and readNumberedApp */
export async function withArchive<T>(
  device: AppDevice,
  archive: string,
  work: (app: NumberedApp) => Promise<T>,
): Promise<T> {
  const { keys, state, root } = device;
  return await withSetTree(archive, keys, state, async (tree) =>
    work(await readNumberedApp(archive, tree, root, keys)),
  );
}

async function installData(
  device: AppDevice,
  { tree, manifest: list }: MadeSet,
  options: Options,
): Promise<InstalledSet> {
  const needs: SetNeeds = { prepare: nothing, tidy: nothing };
  return await installSet(device, tree, device.keys, { ...options, needs, list });
}

async function installQuadlets(
  device: AppDevice,
  archive: string,
  { tree, manifest: list }: MadeSet,
  options: Options,
  tidy: SetNeeds["tidy"],
): Promise<InstalledSet> {
  const { keys, activation, apps } = device;
  const prepare = () => keepArchive(apps, list.name, list.serial, archive);
  return await installSet(device, tree, keys, { ...options, activation, needs: { prepare, tidy }, list });
}

/** Data as it was before: what the quadlets of before need. */
async function dataBack(device: AppDevice, name: string, before: Ledger | undefined): Promise<void> {
  if (before?.app === undefined) {
    await removeSet(device, dataName(name), undefined, { tidy: nothing });
    return;
  }
  const archive = await keptArchive(device.apps, name, before.serial);
  if (archive === undefined) throw notKept(name);
  await withArchive(device, archive, async ({ data }) => {
    if (data !== undefined) await installData(device, data, { force: true, unattended: false, kept: true });
  });
}

/**
 * Installs an archive without a list, data first; each of the two all or nothing.
 * @param archive where the app was read from, for the day on which it comes back
 * @param tidy drops what nobody needs any more
 * @throws MosError as installApp does; data and quadlets are then as before
 */
export async function installNumbered(
  device: AppDevice,
  archive: string,
  { quadlets, data }: NumberedApp,
  options: Options,
  tidy: SetNeeds["tidy"],
): Promise<InstalledSet> {
  const { name } = quadlets.manifest;
  const before = (await readLedgers(device.state)).find((ledger) => ledger.name === dataName(name));
  const first = data === undefined ? undefined : await installData(device, data, options);
  try {
    return await installQuadlets(device, archive, quadlets, options, tidy);
  } catch (error) {
    if (first?.outcome === "installed") await dataBack(device, name, before);
    throw error;
  }
}
