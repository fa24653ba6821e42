// Whether a set may be installed beside what is, and what is known of it once it was.
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { fromText } from "../signed-files/byte-path.ts";
import { digestFile } from "../signed-files/read-files.ts";
import type { Ledger } from "./ledger.ts";
import { refuseMixed } from "./read-set.ts";
import type { SetManifest } from "./set-manifest.ts";
import { allUnitsOf } from "./set-units.ts";

/** @throws MosError `set-older` */
export function refuseOlder(
  { name, serial }: Pick<SetManifest, "name" | "serial">,
  digest: string,
  known: Pick<Ledger, "serial" | "manifest" | "highest">,
): void {
  // The very one that is installed, also when a newer one was before it.
  if (digest === known.manifest) return;
  const newest = known.highest ?? known;
  const about = name;
  if (serial < newest.serial) {
    const why = `${newest.serial} was installed`;
    throw new MosError("set-older", `cannot install serial ${serial} of set ${name}: ${why}`, { about });
  }
  if (serial === newest.serial && digest !== newest.manifest) {
    const why = "another one of this serial was installed";
    throw new MosError("set-older", `cannot install serial ${serial} of set ${name}: ${why}`, { about });
  }
}

/**
 * What a person or the health of its units has taken back does not come again by itself.
 * @throws MosError `set-older`, `app-failed-before`
 */
export function refuseTakenBack({ name, serial }: SetManifest, digest: string, known: Ledger): void {
  if (digest === known.manifest) return;
  if (known.failed?.manifest === digest) {
    const why = "it was tried, and did not run";
    throw new MosError("app-failed-before", `cannot install serial ${serial} of ${name} again: ${why}`, {
      about: name,
    });
  }
  if (known.highest !== undefined && serial <= known.highest.serial) {
    const why = `the device went back from ${known.highest.serial}`;
    throw new MosError("set-older", `cannot install serial ${serial} of ${name} by itself: ${why}`, {
      about: name,
    });
  }
}

/** @throws MosError `set-conflict` */
export function refuseMove({ name, destination }: SetManifest, known: Ledger): void {
  if (destination !== known.destination && known.entries.length > 0) {
    const hint = `mosctl set remove ${name} removes what is in ${known.destination}; then the set can move.`;
    throw new MosError(
      "set-conflict",
      `cannot install set ${name} in ${destination}: it is in ${known.destination}`,
      {
        about: name,
        hint,
      },
    );
  }
}

/** Units of an app that another set makes already: systemd would take one of them. */
function unitsTakenBy(others: readonly Ledger[], { app, entries }: SetManifest): readonly string[] {
  const wanted = new Set(app === undefined ? [] : allUnitsOf(entries));
  return others.flatMap((other) =>
    allUnitsOf(other.entries)
      .filter((unit) => wanted.has(unit))
      .map((unit) => `${unit} is a unit of set ${other.name}`),
  );
}

/** Paths that another set has already. */
function takenBy(others: readonly Ledger[], { destination, entries }: SetManifest): readonly string[] {
  const wanted = new Set(
    entries.flatMap((entry) => (entry.type === "directory" ? [] : [join(destination, entry.path)])),
  );
  return others.flatMap((other) =>
    other.entries.flatMap((entry) => {
      const path = join(other.destination, entry.path);
      return wanted.has(path) ? [`${path} belongs to set ${other.name}`] : [];
    }),
  );
}

/** What of a set is not installed as files is the same as listed. @throws MosError `set-mixed` */
export function checkCarried(tree: string, { carried = [] }: SetManifest): void {
  const problems = carried.flatMap((entry) => {
    if (entry.type !== "file") return [];
    const digest = digestFile(fromText(join(tree, entry.path)), false).toString("hex");
    return digest === entry.sha512 ? [] : [`${entry.path} has other content than listed`];
  });
  refuseMixed(problems, tree);
}

/** What is to be known of a set once a version of it is installed. */
export function ledgerOf(manifest: SetManifest, digest: string, known: Ledger | undefined): Ledger {
  const { name, serial, destination, entries, app } = manifest;
  const newest = known?.highest ?? known;
  const isOlder = newest !== undefined && newest.serial > serial;
  const highest = isOlder ? { serial: newest.serial, manifest: newest.manifest } : undefined;
  const isOther = known !== undefined && known.entries.length > 0 && known.serial !== serial;
  const previous = isOther && known.app !== undefined ? known.serial : known?.previous;
  return {
    ...{ version: 1, name, serial, manifest: digest, destination, entries },
    ...(app === undefined ? {} : { app, ...(previous === undefined ? {} : { previous }) }),
    ...(highest === undefined ? {} : { highest }),
    ...(known?.failed !== undefined && known.failed.serial > serial ? { failed: known.failed } : {}),
  };
}

/** What other sets have already. @throws MosError `set-conflict` */
export function refuseTaken(others: readonly Ledger[], manifest: SetManifest): void {
  const problems = [...takenBy(others, manifest), ...unitsTakenBy(others, manifest)];
  if (problems.length === 0) return;
  throw new MosError("set-conflict", `cannot install set ${manifest.name}: another set is there`, {
    problems,
  });
}
