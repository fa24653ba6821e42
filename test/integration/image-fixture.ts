// What is needed to build an OS image without a network: a keyset, a root from the cache, and trixie's programs.
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { addKeyset, addProject } from "../../src/trust/keyset.ts";
import { diskToolsRoot, secureGuestBase, toolsRoot } from "../../tools/roots.ts";
import { trixiePrograms } from "./trixie-programs.ts";

/** What a root has and a device has no use for. */
export const documentation = ["/usr/share/doc", "/usr/share/locale", "/usr/share/man"];

/**
 * Prepares a directory to build in, and PATH of this process.
 * @param directory below the temporary directory; keysets go to `keys` in it
 * @returns the text of a description that lies in it
 */
export async function prepareImage(directory: string): Promise<string> {
  const tools = await toolsRoot();
  await trixiePrograms(tools, directory, ["ukify"]);
  process.env["PATH"] = await trixiePrograms(await diskToolsRoot(), directory, ["qemu-img"]);
  await copyFile(join(tools, "usr/lib/systemd/boot/efi/systemd-bootx64.efi"), join(directory, "sd-boot.efi"));
  const keys = join(directory, "keys");
  await addKeyset({ root: keys, name: "demo", organizations: ["Example"], keyType: "p256" });
  const { uuid } = await addProject(keys, "demo", "zot");
  return `version: 1
name: demo
release: "1"
root:
  source: "rootfs:${await secureGuestBase()}"
  files: [{path: /etc/example, content: "hello\\n", mode: "0600"}]
  remove: [${documentation.join(", ")}]
  compression: lz4
boot: {keyset: demo, loader_file: sd-boot.efi, command_line: "console=ttyS0"}
trust: {product: ${uuid}}
installer: {disk: auto}
disk: {esp: 96M, state: 64M, swap: 16M}
`;
}
