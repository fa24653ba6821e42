// Guests for tests of the machine lane: a network of their own, the package of this checkout installed, and a
// console log that outlives them.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "../../src/machine/machine.ts";
import { Network } from "../../src/machine/network.ts";
import { bootUml, type UmlOptions } from "../../src/machine/uml.ts";
import { cacheDirectory } from "../../tools/cache.ts";
import { guestDisk } from "../../tools/guest-disk.ts";
import { buildUnderTest } from "../build-under-test.ts";

export interface Device extends AsyncDisposable {
  readonly machine: Machine;
  /** The guest is at `network.guestAddress`, this side at `network.hostAddress`, in namespace `network.name`. */
  readonly network: Network;
}

/** Puts Debian bookworm's podman in the place of a device's own, which stays beside it; its guest has `olderPodman()` as share. */
export async function downgradePodman(machine: Machine): Promise<void> {
  const script = `set -e
mount -t hostfs none /mnt -o hostfs=/machine/share
mkdir /var/newer
mv /usr/bin/podman /usr/libexec/podman/quadlet /var/newer
cp /mnt/podman /usr/bin
cp /mnt/libsubid.so.4 /usr/lib/x86_64-linux-gnu
umount /mnt
/usr/lib/mos/quadlet-setup
sync`;
  await machine.exec(script);
}

/** The other way round. */
export async function upgradePodman(machine: Machine): Promise<void> {
  const script = `set -e
mv /var/newer/podman /usr/bin
mv /var/newer/quadlet /usr/libexec/podman
/usr/lib/mos/quadlet-setup
sync`;
  await machine.exec(script);
}

/**
 * Boots a fresh device and waits until its boot is over. Dispose of it in afterAll, or with `await using`.
 * @param name of its console log, CACHE/logs/console-NAME.log
 */
export async function bootDevice(
  name: string,
  options: Omit<UmlOptions, "toolsRoot" | "disk" | "network"> = {},
): Promise<Device> {
  const guest = await guestDisk((await buildUnderTest()).packageFile);
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
