// Guests for tests of the machine lane: a network of their own, the package of this checkout installed, and a
// console log that outlives them.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "../../src/machine/machine.ts";
import { Network } from "../../src/machine/network.ts";
import { bootUml, type UmlOptions } from "../../src/machine/uml.ts";
import { cacheDirectory } from "../../tools/cache.ts";
import { guestDisk } from "../../tools/guest-disk.ts";
import { buildPackage } from "../../tools/package.ts";

interface Device extends AsyncDisposable {
  readonly machine: Machine;
  /** The guest is at `network.guestAddress`, this side at `network.hostAddress`, in namespace `network.name`. */
  readonly network: Network;
}

/** ./dev test says which package; a test that is run by itself makes it (about 15 s, and the disk 10 s). */
export async function packageUnderTest(): Promise<string> {
  return process.env["MOS_TEST_PACKAGE"] ?? (await buildPackage()).packageFile;
}

/**
 * Boots a fresh device and waits until its boot is over. Dispose of it in afterAll, or with `await using`.
 * @param name of its console log, CACHE/logs/console-NAME.log
 */
export async function bootDevice(
  name: string,
  options: Omit<UmlOptions, "toolsRoot" | "disk" | "network"> = {},
): Promise<Device> {
  const guest = await guestDisk(await packageUnderTest());
  const network = await Network.create();
  let machine: Machine | undefined;
  const dispose = async (): Promise<void> => {
    if (machine !== undefined) {
      writeFileSync(join(cacheDirectory, "logs", `console-${name}.log`), machine.console());
      await machine.dispose();
    }
    await network.remove();
  };
  try {
    machine = await bootUml({ ...options, ...guest, network });
    await machine.booted();
    return { machine, network, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
