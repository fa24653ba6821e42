// Builds a unified kernel image: kernel, initrd and command line as one EFI program, which one signature covers.
// Debian's ukify puts the sections together; PCR signatures and the signature of the whole are made here, because
// those of systemd-measure need a TPM's libraries and those of sbsign the time. The same inputs give the same bytes.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readImageFile } from "../efi/image-file.ts";
import { type PeImage, parsePe, sectionContent } from "../efi/pe.ts";
import { signImage } from "../efi/sign-image.ts";
import { MosError } from "../errors/mos-error.ts";
import { run } from "../system/process.ts";
import type { Certificate } from "../trust/certificate.ts";
import type { SigningKey } from "../trust/signature.ts";
import { checkInitrd } from "./initrd.ts";
import { type PcrSigner, signPcr11 } from "./pcr-signature.ts";

const program = "ukify";
/** Python copies the image a few times; a large initrd on a slow disk takes its while. */
const timeoutMs = 300_000;
/** COMMAND_LINE_SIZE of x86 (arch/x86/include/asm/setup.h), the end mark included. */
const maxCommandLine = 2047;

export interface UkiInput {
  /** Paths, in the order in which the kernel unpacks them. */
  readonly linux: string;
  readonly initrds: readonly string[];
  readonly commandLine: string;
  readonly osRelease?: string;
  /** What `uname -r` will say; ukify finds it in the kernel when absent. */
  readonly uname?: string;
  readonly splash?: string;
  /** The EFI program that starts the kernel; systemd-stub when absent. */
  readonly stub?: string;
  /** Secrets are sealed to the key of the first. */
  readonly pcrSigners: readonly PcrSigner[];
  /** Who signs the whole; undefined leaves it unsigned. */
  readonly signer?: { readonly key: SigningKey; readonly certificate: Certificate };
  /** Names the image in errors. */
  readonly about: string;
}

/**
 * Refuses a command line that the kernel would cut off, or that is none: an image without one takes any from whoever
 * starts it, Secure Boot or not.
 * @throws MosError `usage`
 */
function checkCommandLine(text: string): void {
  if (text.trim() === "")
    throw new MosError("usage", "cannot build a UKI without a command line: it would take any");
  if (text.length > maxCommandLine || !/^[\x20-\x7e]+$/.test(text)) {
    throw new MosError(
      "usage",
      `cannot use this command line: it is one line of at most ${maxCommandLine} printable ASCII characters`,
      { about: text.slice(0, 100) },
    );
  }
}

/** The section that ukify makes of several initrds: each begins at a multiple of four. */
function joined(initrds: readonly Uint8Array[]): Uint8Array {
  const [first] = initrds;
  if (first !== undefined && initrds.length === 1) return first;
  return Buffer.concat(initrds.flatMap((bytes) => [bytes, new Uint8Array((4 - (bytes.length % 4)) % 4)]));
}

/** Runs ukify. `extra` are sections whose content is in files. */
async function assemble(
  input: UkiInput,
  work: string,
  extra: Readonly<Record<string, Uint8Array>>,
): Promise<Uint8Array> {
  const output = join(work, "uki.efi");
  const commandLine = join(work, "cmdline");
  await writeFile(commandLine, input.commandLine);
  const optional = (flag: string, value: string | undefined): readonly string[] =>
    value === undefined ? [] : [flag, value];
  const sections: string[] = [];
  for (const [name, content] of Object.entries(extra)) {
    const path = join(work, `section${name}`);
    await writeFile(path, content);
    sections.push("--section", `${name}:@${path}`);
  }
  // Text goes through files: ukify would change its spaces, and take one that begins with "@" for a path.
  await run(
    program,
    [
      ...["build", "--config", "/dev/null", "--output", output, "--linux", input.linux],
      ...input.initrds.flatMap((initrd) => ["--initrd", initrd]),
      ...["--cmdline", `@${commandLine}`],
      ...optional("--os-release", input.osRelease === undefined ? undefined : `@${input.osRelease}`),
      ...optional("--uname", input.uname),
      ...optional("--splash", input.splash),
      ...optional("--stub", input.stub),
      ...sections,
    ],
    { timeoutMs },
  );
  return await readFile(output);
}

/** The sections of a program that was just built are looked at again: ukify could have been told otherwise. */
function checkSection(image: PeImage, name: string, expected: Uint8Array): void {
  const section = image.sections.find((one) => one.name === name);
  const content = section === undefined ? undefined : sectionContent(image, section);
  if (content === undefined || Buffer.compare(content, expected) !== 0) {
    throw new MosError(
      "program-failed",
      `cannot use what ${program} made: its ${name} is not what it was told`,
      {
        about: image.about,
      },
    );
  }
}

function publicKeySection({ pcrSigners: [first] }: UkiInput): Readonly<Record<string, Uint8Array>> {
  if (first === undefined) return {};
  return { ".pcrpkey": Buffer.from(first.publicKey.export({ type: "spki", format: "pem" })) };
}

/**
 * Builds an image.
 * @throws MosError `usage`, `file-unreadable`, `initrd-unusable`, `program-missing`, `program-failed`,
 * `efi-image-malformed`, `key-invalid`
 */
export async function buildUki(input: UkiInput): Promise<Uint8Array> {
  checkCommandLine(input.commandLine);
  const initrds = await Promise.all(input.initrds.map(readImageFile));
  for (const [index, bytes] of initrds.entries()) checkInitrd(bytes, input.initrds[index] ?? input.about);

  const work = await mkdtemp(join(tmpdir(), "mos-uki-"));
  try {
    const publicKey = publicKeySection(input);
    let bytes = await assemble(input, work, publicKey);
    if (input.pcrSigners.length > 0) {
      const signatures = signPcr11(parsePe(bytes, input.about), input.pcrSigners);
      bytes = await assemble(input, work, { ...publicKey, ".pcrsig": signatures });
      checkSection(parsePe(bytes, input.about), ".pcrsig", signatures);
    }
    const image = parsePe(bytes, input.about);
    checkSection(image, ".cmdline", Buffer.from(input.commandLine));
    if (initrds.length > 0) checkSection(image, ".initrd", joined(initrds));
    const { signer } = input;
    return signer === undefined ? bytes : signImage(bytes, signer.key, signer.certificate, input.about);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
