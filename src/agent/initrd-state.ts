// What the script of the initrd says about the state (initrd-hooks/dracut/60mos/mos-state.sh).
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Places } from "../services/unit-names.ts";

/** Its words, "found HOW" or "missing WHY DEVICE"; undefined where it has not run. */
export function stateReport({ run }: Places): string | undefined {
  const path = join(run, "initrd-state");
  return existsSync(path) ? readFileSync(path, "utf8").trim().slice(0, 4096) : undefined;
}
