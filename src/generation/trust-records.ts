// Releases that changed whom the device trusts (trust/handover.ts), kept for ever: each new start walks them from
// the policy's anchors to those of today. Which of them are in effect is said by the generation that runs, so that
// a record takes effect in the same instant as its generation.
import { MosError } from "../errors/mos-error.ts";
import { parseInstallManifest } from "../manifest/install-json.ts";
import type { Places } from "../services/unit-names.ts";
import { addDirectory, removeTree } from "../system/atomic-file.ts";
import { changesTrust, type TrustRecord } from "../trust/handover.ts";
import { trustRecordPath } from "./places.ts";
import { readSignedParts, type SignedParts, signedFiles } from "./signed-parts.ts";

/**
 * The first `count` records, in order. Nothing in them is trusted yet.
 * @throws MosError `state-invalid`, `manifest-refused`
 */
export async function readTrustRecords(places: Places, count: number): Promise<TrustRecord[]> {
  const records: TrustRecord[] = [];
  for (let number = 1; number <= count; number++) {
    const path = trustRecordPath(places, number);
    const { manifest, signatures } = await readSignedParts(path);
    const change = parseInstallManifest(manifest).release;
    if (!changesTrust(change)) {
      throw new MosError("state-invalid", `${path} does not change whom the device trusts`, { about: path });
    }
    records.push({ manifest, signatures, change });
  }
  return records;
}

/** Writes a record. One of this number that is there already belongs to no generation that ran, and is replaced. */
export async function writeTrustRecord(places: Places, number: number, parts: SignedParts): Promise<void> {
  const path = trustRecordPath(places, number);
  await removeTree(path);
  await addDirectory(path, signedFiles(parts));
}
