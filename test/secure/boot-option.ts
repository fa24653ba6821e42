// What anybody with the firmware's setup, or root on the machine, can do: a boot option of his own. Boot options are
// not signed, and carry arguments for the program that they start.
import { copyFile, writeFile } from "node:fs/promises";
import { guids } from "../../src/efi/guid.ts";
import { run } from "../../src/system/process.ts";
import type { Factory } from "./harness.ts";

/** Of no option that the firmware makes. */
const number = 0x1234;

/** NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS (UEFI 2.10 section 8.2.1). */
const attributes = 7;

function ucs2(text: string): Buffer {
  return Buffer.from(`${text}\0`, "utf16le");
}

/** EFI_LOAD_OPTION (UEFI 2.10 section 3.1.3): a file of any disk, and what it is started with. */
function loadOption(description: string, file: string, argumentsText: string): Buffer {
  const path = ucs2(file);
  const fileNode = Buffer.alloc(4);
  // Media device path, file path (section 10.3.5.4).
  fileNode.writeUInt8(4, 0);
  fileNode.writeUInt8(4, 1);
  fileNode.writeUInt16LE(4 + path.length, 2);
  const endNode = Buffer.of(0x7f, 0xff, 4, 0);
  const devicePath = Buffer.concat([fileNode, path, endNode]);
  const header = Buffer.alloc(6);
  // LOAD_OPTION_ACTIVE
  header.writeUInt32LE(1, 0);
  header.writeUInt16LE(devicePath.length, 4);
  return Buffer.concat([header, ucs2(description), devicePath, ucs2(argumentsText)]);
}

/**
 * A copy of a firmware's variables whose next start is by an option of this name, with these arguments for the UKI.
 * @returns its path
 */
export async function withBootOption(
  factory: Factory,
  variables: string,
  option: { readonly description: string; readonly argumentsText: string },
): Promise<string> {
  const [output, list] = [`${variables}.option`, `${variables}.json`];
  const next = Buffer.alloc(2);
  next.writeUInt16LE(number);
  const data = loadOption(option.description, "\\EFI\\BOOT\\BOOTX64.EFI", option.argumentsText);
  const entry = (name: string, value: Buffer): object => ({
    ...{ name, guid: guids.global, attr: attributes, data: value.toString("hex") },
  });
  const changes = [entry(`Boot${number.toString(16)}`, data), entry("BootNext", next)];
  await writeFile(list, JSON.stringify({ version: 2, variables: changes }));
  await copyFile(variables, output);
  await run("virt-fw-vars", ["--inplace", output, "--set-json", list], { cwd: factory.directory });
  return output;
}
