// Sets in levels at the begin of a boot: what the levels of the image and those that were installed come to on this
// device now, which may be another than at the boot before: the image, the device's classes or its /etc may be new.
import { join } from "node:path";
import { asMosError, type MosError } from "../errors/mos-error.ts";
import { locked } from "./bring.ts";
import { isReadOnly } from "./destination.ts";
import { type Ledger, readJournals, readLedgers } from "./ledger.ts";
import { bringMerged, type LevelDevice, refuseUnlevelled, tidy } from "./merge-installed.ts";
import { type LevelPlaces, namesIn, type ReadLevel, readLevels } from "./read-levels.ts";
import { readSignedSet } from "./read-set.ts";

/** What came of the sets in levels at a boot. */
export interface RestoredLevels {
  /** Sets of which something was put to its place. */
  readonly restored: readonly string[];
  /** Sets whose destination cannot be written yet. */
  readonly later: readonly string[];
  readonly failed: readonly { readonly name: string; readonly error: MosError }[];
}

/** Names of sets in levels: of the image, and of what is installed. */
async function namesOf({ image }: LevelPlaces, ledgers: readonly Ledger[]): Promise<readonly string[]> {
  const installed = ledgers.flatMap(({ name, levels }) => (levels === undefined ? [] : [name]));
  return [...new Set([...(await namesIn(image)), ...installed])].sort();
}

/**
 * Paths that a boot may remove: those of a list that is signed, of now or of when it was installed. What the ledger alone
 * says counts for nothing here, because who has the state's disk can write it, and the root's files are not theirs.
 */
async function removableOf(
  { places, keys }: LevelDevice,
  { name, destination, levels = [] }: Ledger,
  found: readonly ReadLevel[],
): Promise<ReadonlySet<string>> {
  const lists = found.map(({ manifest }) => manifest);
  for (const { counts } of levels) {
    if (counts === undefined) continue;
    // One that cannot be verified any more is not there.
    const list = await readSignedSet(join(places.kept, counts.manifest), keys).catch(() => undefined);
    if (list?.manifest.name === name) lists.push(list.manifest);
  }
  const own = lists.filter((list) => list.destination === destination);
  return new Set(own.flatMap(({ entries }) => entries.map(({ path }) => path)));
}

/**
 * Brings every set in levels to what its levels come to on this device now; each is verified. One that is refused stops
 * none of the others, and changes nothing. Nothing is started.
 * @param options `leaveReadOnly`: leave alone what is on a file system that cannot be written now, as in an initrd
 */
export async function restoreLevels(
  device: LevelDevice,
  { leaveReadOnly }: { readonly leaveReadOnly: boolean },
): Promise<RestoredLevels> {
  const { places, keys } = device;
  if (leaveReadOnly && (await isReadOnly(places.state))) {
    const later = await namesOf(places, await readLedgers(places.state));
    return { restored: [], later, failed: [] };
  }
  return await locked(places, "signed sets of a boot", async () => {
    const restored: string[] = [];
    const later: string[] = [];
    const failed: { name: string; error: MosError }[] = [];
    const changing = new Set((await readJournals(places.state)).map(({ ledger }) => ledger.name));
    const ledgers = await readLedgers(places.state);
    for (const name of await namesOf(places, ledgers)) {
      const known = ledgers.find((ledger) => ledger.name === name);
      try {
        refuseUnlevelled(name, known);
        const found = await readLevels(places, name, known?.levels ?? [], keys);
        const [first] = found;
        const destination = known?.destination ?? first?.manifest.destination ?? "/";
        if (changing.has(name) || (leaveReadOnly && (await isReadOnly(join(places.root, destination))))) {
          later.push(name);
          continue;
        }
        const family = { name, known, remembered: known?.levels ?? [], found };
        const removable = known === undefined ? new Set<string>() : await removableOf(device, known, found);
        const done = await bringMerged(device, family, { force: true, removable });
        if (done !== undefined && done.written.length + done.removed.length > 0) restored.push(name);
      } catch (error) {
        failed.push({ name, error: asMosError(error) });
      }
    }
    await tidy(places);
    return { restored, later, failed };
  });
}
