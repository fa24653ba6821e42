// What a killed process left on the disk can be seen by the next one, and still be lost by a power cut: names that it
// did not fsync any more. Whoever builds on them makes them durable first.
import { join } from "node:path";
import { systemCode } from "../errors/mos-error.ts";
import type { Places } from "../services/unit-names.ts";
import { syncDirectory } from "../system/atomic-file.ts";
import { generationsPath, storePath, trustRecordsPath } from "./places.ts";

/** Makes every name in the state durable that can be seen in it. The contents were, before they got their names. */
export async function makeNamesDurable(places: Places): Promise<void> {
  const store = storePath(places);
  const directories = [
    ...[places.state, generationsPath(places), trustRecordsPath(places)],
    ...[store, join(store, "blobs"), join(store, "blobs/sha256")],
  ];
  for (const path of directories) {
    await syncDirectory(path).catch((error: unknown) => {
      if (systemCode(error) !== "ENOENT") throw error;
    });
  }
}
