// The EFI programs of an image, signed: the unified kernel image, whose command line names the root by its hash, and
// the boot loader that counts how often it was tried.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readImageFile, readSigner } from "../efi/image-file.ts";
import { signImage } from "../efi/sign-image.ts";
import { RootTree } from "../elf/root-tree.ts";
import { MosError } from "../errors/mos-error.ts";
import { initrdArchive } from "./cpio.ts";
import type { ImageDescription } from "./description-schema.ts";
import {
  encryptedCommandLine,
  installArguments,
  installTarget,
  loaderConfig,
  removableLoader,
  retryCommandLine,
  rootCommandLine,
  ukiDirectory,
  ukiFileName,
} from "./disk-layout.ts";
import type { EspFile } from "./esp.ts";
import { installerFiles, trustFiles } from "./image-trust.ts";
import type { BootFiles } from "./os-tree.ts";
import { buildUki } from "./uki.ts";

interface BootInput {
  readonly description: ImageDescription;
  readonly files: BootFiles;
  readonly rootHash: string;
  readonly tree: string;
  /** The keyset's directory. */
  readonly keyset: string;
  /** Paths that the description names, made absolute. */
  readonly splash: string | undefined;
  readonly loader: string | undefined;
  readonly policy: string | undefined;
  readonly work: string;
}

export interface BootPrograms {
  readonly uki: string;
  readonly commandLine: string;
  /** Everything that goes into the EFI system partition. */
  readonly esp: readonly EspFile[];
  /** The same for an installer's, when there is to be one. */
  readonly installerEsp: readonly EspFile[] | undefined;
  /** Makes the same kernel image for another root. @param root what it is told about that */
  readonly buildKernel: (root: string) => Promise<{ readonly path: string; readonly commandLine: string }>;
}

/** Debian's package systemd-boot-efi has it here, in the image's root or on the machine that builds. */
const loaderPath = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/** No menu and no editor: what is started is what was signed. */
const loaderText = "timeout 0\neditor no\nauto-firmware no\n";

async function readLoader({ tree, loader }: BootInput): Promise<Uint8Array> {
  if (loader !== undefined) return await readImageFile(loader);
  const found = new RootTree([tree]).find(loaderPath);
  if (found?.kind === "file") return await readFile(found.host);
  try {
    return await readImageFile(loaderPath);
  } catch (error) {
    throw new MosError("program-missing", "cannot find systemd-boot, in the image's root or here", {
      about: loaderPath,
      hint: "apt-get install systemd-boot-efi, or add it to the image's packages, or say boot.loader_file",
      cause: error,
    });
  }
}

/** What the kernel of an installer is told besides. Its medium has no state: /etc/fstab is for what it installs. */
function installerArguments({ installer, disk }: ImageDescription): string {
  const words = [
    ...["fstab=no", `systemd.unit=${installTarget}`, `${installArguments.disk}=${installer?.disk ?? "auto"}`],
    ...(installer?.wipe === true ? [`${installArguments.wipe}=yes`] : []),
    ...(disk.swap === undefined ? [] : [`${installArguments.swap}=${disk.swap}`]),
    ...(installer?.provision === undefined ? [] : [`${installArguments.provision}=${installer.provision}`]),
    ...(disk.encrypt === undefined ? [] : [`${installArguments.encrypt}=${disk.encrypt}`]),
  ];
  return words.join(" ");
}

/**
 * Makes and signs the programs.
 * @throws MosError `key-invalid`, `program-missing`, `program-failed`, and what reading trust and keys throws
 */
export async function makeBootPrograms(input: BootInput): Promise<BootPrograms> {
  const { description, files, keyset, work, rootHash } = input;
  const { boot, name, release } = description;
  const key = join(keyset, "uki-production");
  const signer = await readSigner(join(key, "privkey.pem"), join(key, "cert.pem"));
  const trust = join(work, "trust.cpio");
  const said = await trustFiles(keyset, input.policy, description.trust.product);
  await writeFile(trust, initrdArchive(said));
  const build = async (to: string, commandLine: string, trustArchive = trust): Promise<string> => {
    const bytes = await buildUki({
      linux: files.kernel,
      initrds: [files.initrd, trustArchive],
      commandLine,
      osRelease: files.osRelease,
      ...(input.splash === undefined ? {} : { splash: input.splash }),
      pcrSigners: [],
      signer,
      about: name,
    });
    await writeFile(join(work, to), bytes);
    return join(work, to);
  };
  // The words of the description come last: they count where both say something.
  const state = description.disk.encrypt === undefined ? [] : [encryptedCommandLine];
  const lineOf = (root: string, more: readonly string[] = state): string =>
    [root, retryCommandLine, ...more, boot.command_line].join(" ").trim();
  const commandLine = lineOf(rootCommandLine(rootHash));
  const uki = await build("uki.efi", commandLine);
  const buildKernel = async (root: string) => {
    const line = lineOf(root);
    return { path: await build("bootkit.efi", line), commandLine: line };
  };
  const installerTrust = join(work, "installer-trust.cpio");
  await writeFile(installerTrust, initrdArchive(installerFiles(said, description.installer?.provision)));
  const installerEsp =
    description.installer === undefined
      ? undefined
      : [
          {
            path: removableLoader,
            source: await build(
              "installer.efi",
              `${lineOf(rootCommandLine(rootHash), [])} ${installerArguments(description)}`,
              installerTrust,
            ),
          },
        ];
  if (boot.loader === "none")
    return { uki, commandLine, esp: [{ path: removableLoader, source: uki }], installerEsp, buildKernel };
  const [loader, config] = [join(work, "loader.efi"), join(work, "loader.conf")];
  await writeFile(loader, signImage(await readLoader(input), signer.key, signer.certificate, "systemd-boot"));
  await writeFile(config, loaderText);
  return {
    uki,
    commandLine,
    installerEsp,
    buildKernel,
    esp: [
      { path: removableLoader, source: loader },
      { path: `${ukiDirectory}/${ukiFileName(name, release, boot.tries)}`, source: uki },
      { path: loaderConfig, source: config },
    ],
  };
}
