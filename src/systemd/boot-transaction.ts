// What stands for the service manager in the initrd: there the running system's is not there yet. It reads all units by
// itself when it begins, so nothing has to be stopped or read again, and what is to start is linked below a target of
// the boot (systemd.unit(5), `.wants/`).
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import type { ServiceManager } from "./manager.ts";

/** Every usual boot goes through it; rescue and emergency do not. */
const bootTarget = "multi-user.target";

/** Where a unit is linked that a boot wants. */
export function bootLink(unitDirectory: string, unit: string): string {
  return join(unitDirectory, `${bootTarget}.wants`, unit);
}

/** @param unitDirectory where the running system will find the units that it is asked to start */
export function bootTransaction(unitDirectory: string): ServiceManager {
  const link = async (units: readonly string[]): Promise<void> => {
    for (const unit of units.filter((name) => name.endsWith(".target"))) {
      const path = bootLink(unitDirectory, unit);
      mkdirSync(dirname(path), { recursive: true });
      rmSync(path, { force: true });
      symlinkSync(`../${unit}`, path);
    }
  };
  const nothing = async (): Promise<void> => undefined;
  return {
    daemonReload: nothing,
    stopUnits: nothing,
    resetFailed: nothing,
    startUnits: link,
    startUnitsNoBlock: link,
    showUnits: async () => [],
    lastLogLines: async () => [],
    runOnce: async () => {
      throw new MosError("internal", "nothing can be run in the initrd");
    },
    reboot: nothing,
  };
}
