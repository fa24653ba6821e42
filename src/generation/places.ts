// Where generations live below the state directory (DESIGN section 5).
import { join } from "node:path";
import type { Places } from "../services/unit-names.ts";

export function storePath({ state }: Places): string {
  return join(state, "oci");
}

export function generationsPath({ state }: Places): string {
  return join(state, "generations");
}

export function generationPath(places: Places, number: number): string {
  return join(generationsPath(places), String(number));
}

/** Symbolic links that say which generation runs, and which ran before it. */
export function pointerPath({ state }: Places, pointer: "current" | "previous"): string {
  return join(state, pointer);
}

/** Releases that changed whom the device trusts, in order. */
export function trustRecordsPath({ state }: Places): string {
  return join(state, "trust");
}

export function trustRecordPath(places: Places, number: number): string {
  return join(trustRecordsPath(places), String(number));
}

/** The lowest epoch, where no TPM remembers it. */
export function epochPath({ state }: Places): string {
  return join(state, "epoch.json");
}

export function idmapsPath({ state }: Places): string {
  return join(state, "idmaps.json");
}

/** The transaction under way. */
export function journalPath({ state }: Places): string {
  return join(state, "journal.json");
}

/** Where a journal that cannot be read is kept for a person to look at. */
export function damagedJournalPath({ state }: Places): string {
  return join(state, "journal.json.damaged");
}

/** Manifests that failed here. */
export function failuresPath({ state }: Places): string {
  return join(state, "failed.json");
}

/** Starts of this system that no agent has seen the end of; written in the initrd (mos-starts.sh). */
export function startsPath({ state }: Places): string {
  return join(state, "starts");
}

export function lockPath({ run }: Places): string {
  return join(run, "lock");
}
