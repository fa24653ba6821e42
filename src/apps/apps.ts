// Apps on a device: signed sets (src/signed-sets) of quadlets and files that carry the images of their containers. They
// are installed by the transaction of sets; what is here is what comes along with it: images in podman's storage, and
// the version before, which is kept and can come back.
import type { KeyObject } from "node:crypto";
import { basename, join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import type { Activation } from "../signed-sets/activation.ts";
import type { InstalledSet, SetPlaces } from "../signed-sets/bring.ts";
import { installSet, removeSet, type SetNeeds } from "../signed-sets/install-set.ts";
import { type Ledger, readJournals, readLedgers } from "../signed-sets/ledger.ts";
import { type App, type AppImage, imagesName, type SetManifest } from "../signed-sets/set-manifest.ts";
import { unitsOf } from "../signed-sets/set-units.ts";
import { removeDirectory } from "../system/durable.ts";
import type { ServiceManager } from "../systemd/manager.ts";
import type { ImageStore } from "./image-store.ts";
import { dropBut, keep, keptArchive, keptVersions, notKept, readKept } from "./kept.ts";
import { installNumbered, withArchive } from "./numbered-apps.ts";
import { dataName, isData, type NumberedApp } from "./numbered-archive.ts";

/** Where apps are, and what they are installed with. */
export interface AppDevice extends SetPlaces {
  /** Directory of the versions that are kept. */
  readonly apps: string;
  readonly images: ImageStore;
  readonly keys: readonly KeyObject[];
  /** Undefined where nothing runs: in a directory. */
  readonly activation: Activation | undefined;
}

/** How it is installed (InstallSetOptions). */
export interface AppOptions {
  readonly force: boolean;
  /** Nobody has asked for this very version. */
  readonly unattended: boolean;
}

/** What came of an app. */
export interface ChangedApp extends InstalledSet {
  readonly version: string | undefined;
  /** The version that can come back now. */
  readonly previous: number | undefined;
}

/** The list of a version that is kept, as far as it says what to keep; undefined where none is. */
async function keptManifest(
  { apps }: AppDevice,
  name: string,
  serial: number,
): Promise<SetManifest | undefined> {
  return await readKept(apps, name, serial).then(
    ({ manifest }) => manifest,
    () => undefined,
  );
}

/** Drops what no app needs: versions that nobody can go back to, and images. */
async function tidy(device: AppDevice): Promise<void> {
  const { apps, state, images } = device;
  const ledgers = await readLedgers(state);
  const journals = await readJournals(state);
  const needed = new Set<string>();
  const need = (app: App | undefined): void => {
    for (const { id } of app?.images ?? []) needed.add(id);
  };
  for (const { app } of [...ledgers, ...journals.map(({ ledger }) => ledger)]) need(app);
  for (const name of (await keptVersions(apps)).keys()) {
    const ledger = ledgers.find((one) => one.name === name);
    const isHere = ledger !== undefined && ledger.app !== undefined;
    await dropBut(apps, name, isHere ? [ledger.serial, ledger.previous ?? 0] : []);
    if (ledger?.previous !== undefined) need((await keptManifest(device, name, ledger.previous))?.app);
  }
  const there = await images.list();
  await images.remove(there.filter((id) => !needed.has(id)));
}

async function load({ images }: AppDevice, wanted: readonly AppImage[], layout: string): Promise<void> {
  const there = new Set(wanted.length === 0 ? [] : await images.list());
  const missing = wanted.filter(({ id }) => !there.has(id));
  for (const { id } of missing) await images.load(layout, id);
  if (missing.length > 0) await images.sync();
}

/** What an app needs besides its files. @param kept whether it is a version that comes back, without images */
function needsOf(device: AppDevice, kept: boolean): SetNeeds {
  return {
    prepare: async (tree, manifest) => {
      const { name, app } = manifest;
      if (app === undefined) {
        const hint = "It is a set of files: mosctl set install takes it.";
        throw new MosError("set-invalid", `cannot install ${name}: it is no app`, { about: name, hint });
      }
      if (kept) await needImages(device, name, app);
      else await load(device, app.images, `${tree}/${imagesName}`);
      await keep(device.apps, tree, manifest);
    },
    // What cannot go now goes with the next app: nothing that was asked for has failed.
    tidy: () => tidy(device).catch(() => undefined),
  };
}

/** @throws MosError `app-not-kept` when podman has lost an image of it */
async function needImages({ images }: AppDevice, name: string, app: App): Promise<void> {
  const there = new Set(app.images.length === 0 ? [] : await images.list());
  const lost = app.images.filter((image) => !there.has(image.id));
  if (lost.length === 0) return;
  throw new MosError("app-not-kept", `cannot go back with app ${name}: podman has its images no longer`, {
    about: name,
    problems: lost.map((image) => `${image.name} (${image.id})`),
    hint: `Install that version from its bundle again: signed anew, with a higher serial.`,
  });
}

async function ledgerOf({ state }: SetPlaces, name: string): Promise<Ledger | undefined> {
  return (await readLedgers(state)).find((ledger) => ledger.name === name);
}

async function changed(device: AppDevice, done: InstalledSet): Promise<ChangedApp> {
  const ledger = await ledgerOf(device, done.name);
  return { ...done, version: ledger?.app?.version, previous: ledger?.previous };
}

/**
 * Installs an app, all of it or nothing.
 * @param tree its signed set, with its images
 * @throws MosError what {@link installSet} throws, `program-failed` and `set-mixed` of images; the app of before runs then
 */
export async function installApp(device: AppDevice, tree: string, options: AppOptions): Promise<ChangedApp> {
  const { keys, activation } = device;
  const needs = needsOf(device, false);
  return await changed(device, await installSet(device, tree, keys, { ...options, activation, needs }));
}

/** Installs an archive that was made for containers/validator. @throws MosError as {@link installApp} */
export async function installArchive(
  device: AppDevice,
  archive: string,
  app: NumberedApp,
  options: AppOptions,
): Promise<ChangedApp> {
  const { tidy: drop } = needsOf(device, false);
  return await changed(
    device,
    await installNumbered(device, archive, app, { ...options, kept: false }, drop),
  );
}

/**
 * Goes back to the version that was kept, and keeps the one that ran: the same again goes forward.
 * @throws MosError `app-unknown`, `app-not-kept`, and what {@link installSet} throws
 */
export async function rollbackApp(device: AppDevice, name: string): Promise<ChangedApp> {
  const { apps, keys, activation } = device;
  const { previous } = await knownApp(device, name);
  if (previous === undefined) throw notKept(name);
  const archive = await keptArchive(apps, name, previous);
  const needs = needsOf(device, true);
  const options = { force: false, unattended: false, kept: true };
  if (archive !== undefined) {
    const done = await withArchive(device, archive, (app) =>
      installNumbered(device, archive, app, options, needs.tidy),
    );
    return await changed(device, done);
  }
  const { tree } = await readKept(apps, name, previous);
  return await changed(device, await installSet(device, tree, keys, { ...options, activation, needs }));
}

async function knownApp(device: AppDevice, name: string): Promise<Ledger & { readonly app: App }> {
  const ledger = await ledgerOf(device, name);
  if (ledger?.app !== undefined) return { ...ledger, app: ledger.app };
  throw new MosError("app-unknown", `cannot find app ${name}: it is not installed`, { about: name });
}

/**
 * Removes an app: its files, and images that no other needs. Volumes stay, and so does its serial.
 * @throws MosError `app-unknown`
 */
export async function removeApp(device: AppDevice, name: string): Promise<ChangedApp> {
  const { app } = await knownApp(device, name);
  const needs = { tidy: () => tidy(device).catch(() => undefined) };
  const done = await removeSet(device, name, device.activation, needs);
  const data = await ledgerOf(device, dataName(name));
  if (data?.app !== undefined) await removeSet(device, data.name, undefined, needs);
  // The directory that was made for it.
  if (basename(done.destination) === name) {
    await removeDirectory(join(device.root, done.destination)).catch(() => undefined);
  }
  return { ...done, version: app.version, previous: undefined };
}

/** An app, as it is now. */
export interface ListedApp {
  readonly name: string;
  readonly version: string;
  readonly serial: number;
  /** The version that mosctl app rollback goes back to. */
  readonly previous: { readonly version: string | undefined; readonly serial: number } | undefined;
  readonly units: readonly { readonly unit: string; readonly state: string }[];
  readonly images: readonly AppImage[];
}

/** @param systemd undefined where nothing runs: the states are then unknown */
export async function listApps(
  device: AppDevice,
  systemd: Pick<ServiceManager, "showUnits"> | undefined,
): Promise<readonly ListedApp[]> {
  const listed: ListedApp[] = [];
  for (const ledger of await readLedgers(device.state)) {
    const { name, serial, app, entries, previous } = ledger;
    if (app === undefined || isData(ledger)) continue;
    const units = unitsOf(entries);
    const shown = (await systemd?.showUnits(units, ["Id", "ActiveState"])) ?? [];
    const states = new Map(shown.map((unit) => [unit["Id"], unit["ActiveState"]]));
    const before = previous === undefined ? undefined : await keptManifest(device, name, previous);
    listed.push({
      ...{ name, serial, version: app.version, images: app.images },
      previous: previous === undefined ? undefined : { version: before?.app?.version, serial: previous },
      units: units.map((unit) => ({ unit, state: states.get(unit) ?? "unknown" })),
    });
  }
  return listed;
}
