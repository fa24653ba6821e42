// The description of an image for the secure lane: the guest's base with the package under test, controllable, with
// nothing to wait for that the guest does not have.
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { guestControlFiles, guestControlLink } from "../../src/machine/guest-control.ts";
import { qemuControlLine } from "../../src/machine/qemu.ts";
import { secureGuestBase } from "../../tools/roots.ts";
import { masked } from "../../tools/secure-image.ts";
import { buildUnderTest } from "../build-under-test.ts";
import { documentation } from "../integration/image-fixture.ts";
import { type Factory, guestOptions } from "./harness.ts";

// On a machine that does other work besides, udev takes its time to find a disk.
const waits = ["systemd.default_device_timeout_sec=240", "mos.state-timeout=240"];
const commandLine = [...guestOptions, ...waits].join(" ");

/**
 * As JSON, which is YAML.
 * @param more what it says besides, or instead
 * @param root files that are put into the root besides, and of how many layers the root is in the store
 */
export async function systemDescription(
  factory: Factory,
  more: object,
  { files = [], layers = 1 }: { readonly files?: readonly object[]; readonly layers?: number } = {},
): Promise<string> {
  const { packageFile } = await buildUnderTest();
  const loader = "sd-boot.efi";
  const tools = factory.image.toolsRoot;
  await copyFile(join(tools, "usr/lib/systemd/boot/efi/systemd-bootx64.efi"), factory.path(loader));
  const control = guestControlFiles(qemuControlLine).map(({ path, content, mode }) => ({
    ...{ path, content, mode: `0${mode.toString(8)}` },
  }));
  return JSON.stringify({
    version: 1,
    name: "demo",
    release: "1.0",
    root: {
      source: `rootfs:${await secureGuestBase()}`,
      install: [packageFile],
      files: [
        ...control,
        { path: guestControlLink.path, link: guestControlLink.target },
        ...masked.map((unit) => ({ path: `/etc/systemd/system/${unit}`, link: "/dev/null" })),
        ...files,
      ],
      remove: documentation,
      compression: "lz4",
      layers,
    },
    boot: { keyset: "demo", loader_file: loader, command_line: commandLine },
    trust: { product: factory.product },
    ...more,
  });
}
