// Apps at the begin of a boot: what lies in /run, or in an /etc that a boot begins anew, is installed again from the
// version that is kept, by its signature, before systemd reads its units. podman has the images still.
import type { KeyObject } from "node:crypto";
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { asMosError, type MosError, systemCode } from "../errors/mos-error.ts";
import type { SetPlaces } from "../signed-sets/bring.ts";
import { installSet } from "../signed-sets/install-set.ts";
import { type Ledger, readJournals, readLedgers } from "../signed-sets/ledger.ts";
import { withSetTree } from "../signed-sets/open-source.ts";
import { keptArchive, keptPath } from "./kept.ts";
import { dataName, isData, readNumberedApp } from "./numbered-archive.ts";

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

async function isMissing(root: string, { destination, entries }: Ledger): Promise<boolean> {
  for (const { path } of entries) {
    if (!(await isThere(join(root, destination, path)))) return true;
  }
  return false;
}

const nothing = async (): Promise<void> => undefined;

async function restore(
  places: SetPlaces,
  apps: string,
  keys: readonly KeyObject[],
  ledger: Ledger,
): Promise<void> {
  const { name, serial } = ledger;
  const options = { force: false, kept: true, needs: { prepare: nothing, tidy: nothing } };
  const archive = await keptArchive(apps, name, serial);
  if (archive === undefined) {
    await installSet(places, keptPath(apps, name, serial), keys, options);
    return;
  }
  await withSetTree(archive, keys, places.state, async (tree) => {
    const { quadlets, data } = await readNumberedApp(archive, tree, places.root, keys);
    for (const part of [data, quadlets]) {
      if (part !== undefined) await installSet(places, part.tree, keys, { ...options, list: part.manifest });
    }
  });
}

/** What came of it. */
export interface RestoredApps {
  /** Apps whose files were put to their place. */
  readonly restored: readonly string[];
  /** Apps that are not there now, and why. */
  readonly failed: readonly { readonly name: string; readonly error: MosError }[];
}

/**
 * Puts the files of apps back that are missing. Nothing is started.
 * @param apps directory of the versions that are kept
 */
export async function restoreApps(
  places: SetPlaces,
  apps: string,
  keys: () => Promise<readonly KeyObject[]>,
): Promise<RestoredApps> {
  const restored: string[] = [];
  const failed: { name: string; error: MosError }[] = [];
  // What is being changed is not decided: whoever settles that comes first.
  const changing = new Set((await readJournals(places.state)).map(({ ledger }) => ledger.name));
  const ledgers = await readLedgers(places.state);
  for (const ledger of ledgers) {
    const { name, app } = ledger;
    if (app === undefined || isData(ledger) || changing.has(name)) continue;
    const data = ledgers.find((one) => one.name === dataName(name) && isData(one));
    const isWhole = !(await isMissing(places.root, ledger));
    if (isWhole && (data === undefined || !(await isMissing(places.root, data)))) continue;
    try {
      await restore(places, apps, await keys(), ledger);
      restored.push(name);
    } catch (error) {
      failed.push({ name, error: asMosError(error) });
    }
  }
  return { restored, failed };
}
