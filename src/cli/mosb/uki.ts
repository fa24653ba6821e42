// `mosb uki build|sign|inspect`.
import { readFile } from "node:fs/promises";
import { buildCommand } from "@stricli/core";
import { MosError, systemCode } from "../../errors/mos-error.ts";
import type { UkiReport } from "../../image/uki-inspect.ts";
import { type LayerFormat, layerFormats } from "../../layers/pack.ts";
import { formatBytes } from "../../system/quantity.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { type Cell, jsonText, keyValues, table } from "../output.ts";
import type { OutputStream } from "../terminal.ts";

const word = (input: string): string => input;

const required = (brief: string, placeholder: string) =>
  ({ kind: "parsed", parse: word, brief, placeholder }) as const;
const optional = (brief: string, placeholder: string) =>
  ({ kind: "parsed", parse: word, brief, placeholder, optional: true }) as const;
const repeated = (brief: string, placeholder: string) =>
  ({ kind: "parsed", parse: word, brief, placeholder, optional: true, variadic: true }) as const;

const uki = {
  kind: "tuple",
  parameters: [{ brief: "the image", placeholder: "UKI.efi", parse: word }],
} as const;

interface BuildFlags extends JsonFlag {
  readonly linux: string;
  readonly initrd?: readonly string[];
  readonly cmdline: string;
  readonly hostfs?: string;
  readonly layerFormat: LayerFormat;
  readonly osRelease?: string;
  readonly uname?: string;
  readonly splash?: string;
  readonly stub?: string;
  readonly pcrPrivateKey?: readonly string[];
  readonly pcrPublicKey?: readonly string[];
  readonly phases?: readonly string[];
  readonly key?: string;
  readonly cert?: string;
  readonly output: string;
}

/** Text, or `@FILE` for what a file holds, without the line's end. */
async function textOrFile(given: string): Promise<string> {
  if (!given.startsWith("@")) return given;
  const path = given.slice(1);
  try {
    return (await readFile(path, "utf8")).replace(/\n$/, "");
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${path}: ${systemCode(error) ?? "unknown"}`, {
      about: path,
      cause: error,
    });
  }
}

/** What the kernel is told of a root out of the store. */
async function rootWords({ hostfs = "", layerFormat }: BuildFlags): Promise<string> {
  const { hostfsWords } = await import("../../publish/hostfs-words.ts");
  return await hostfsWords(hostfs, layerFormat, process.cwd());
}

async function signerOf({ key, cert }: BuildFlags) {
  if (key === undefined && cert === undefined) return undefined;
  if (key === undefined || cert === undefined) {
    throw new MosError("usage", "cannot sign with half of a pair: give both --key and --cert");
  }
  const { readSigner } = await import("../../efi/image-file.ts");
  return await readSigner(key, cert);
}

async function inspect(bytes: Uint8Array, about: string): Promise<UkiReport> {
  const { parsePe } = await import("../../efi/pe.ts");
  const { inspectUki } = await import("../../image/uki-inspect.ts");
  return inspectUki(parsePe(bytes, about));
}

function showPcr11(stdout: OutputStream, { pcr11 }: UkiReport): string {
  if ("problem" in pcr11) return `\nPCR 11: ${pcr11.problem}\n`;
  return `\n${table(
    stdout,
    ["PHASE", "PCR 11 (SHA-256)"],
    pcr11.map(({ phase, value }) => [phase, value]),
  )}`;
}

export const ukiBuild = withExamples(
  buildCommand<BuildFlags, [], CliContext>({
    docs: {
      brief: "Build a unified kernel image",
      fullDescription: `Puts kernel, initrd and command line into one EFI program (with ukify; Debian: systemd-ukify), signs the values
that PCR 11 will have, and signs the whole for Secure Boot. The same inputs give the same bytes. An output that is
there already with other content is not replaced.

With --hostfs the command line begins with the words by which the initrd finds every layer of that root in the store of
the device, and verifies it: what mosb manifest publish makes of the same source with the same --layer-format.

Each --pcr-private-key signs for the phases of the --phases in its place (default: enter-initrd, so that what it
opens is not open to the system that starts later). Secrets are sealed to the first of the keys.`,
    },
    parameters: {
      flags: {
        linux: required("The kernel", "VMLINUZ"),
        initrd: repeated("An initrd; several are unpacked in their order", "FILE"),
        cmdline: required("The kernel's command line, or the file that holds it", "TEXT|@FILE"),
        hostfs: optional(
          "The root that it starts from out of the device's store: source of the manifest's target hostfs",
          "SOURCE",
        ),
        layerFormat: {
          kind: "enum",
          values: layerFormats,
          brief: "Of that, as it is published: for a rootfs: source, and layers that are converted",
          default: "squashfs",
        },
        osRelease: optional("The system's os-release", "FILE"),
        uname: optional("The kernel's release (default: what the kernel says)", "RELEASE"),
        splash: optional("A picture to show, BMP", "FILE"),
        stub: optional("The EFI program that starts the kernel (default: systemd-stub)", "FILE"),
        pcrPrivateKey: repeated("A key that signs PCR 11, PKCS#8 PEM", "KEY.pem"),
        pcrPublicKey: repeated("Its public half, to make sure", "PUB.pem"),
        phases: repeated("When what it opens may be opened, with commas", "PHASE,…"),
        key: optional("Private key for Secure Boot, PKCS#8 PEM", "KEY.pem"),
        cert: optional("Its certificate, PEM", "CERT.pem"),
        output: required("Where to write", "UKI.efi"),
        json: jsonFlag,
      },
    },
    async func(flags) {
      const { stdout } = this.terminal;
      const [{ buildUki }, { readPcrSigners }, { writeOutput }] = await Promise.all([
        import("../../image/uki.ts"),
        import("../../image/pcr-keys.ts"),
        import("../../efi/image-file.ts"),
      ]);
      const pcrSigners = await readPcrSigners({
        privateKeys: flags.pcrPrivateKey ?? [],
        publicKeys: flags.pcrPublicKey ?? [],
        phases: flags.phases ?? [],
      });
      const signer = await signerOf(flags);
      const { linux, initrd: initrds = [], osRelease, uname, splash, stub, output } = flags;
      const words = await textOrFile(flags.cmdline);
      const commandLine = flags.hostfs === undefined ? words : `${await rootWords(flags)} ${words}`;
      const bytes = await buildUki({
        ...{ linux, initrds, commandLine, pcrSigners, about: output },
        ...(osRelease === undefined ? {} : { osRelease }),
        ...(uname === undefined ? {} : { uname }),
        ...(splash === undefined ? {} : { splash }),
        ...(stub === undefined ? {} : { stub }),
        ...(signer === undefined ? {} : { signer }),
      });
      const report = await inspect(bytes, output);
      const written = await writeOutput(output, bytes);
      if (flags.json) return stdout.write(jsonText({ output, written, size: bytes.length, ...report }));
      const done = written ? "Built" : "Nothing to do: there already is";
      const by = signer === undefined ? "not signed" : `signed as ${signer.certificate.subject.text}`;
      stdout.write(`${done} ${output}: ${formatBytes(bytes.length)}, ${by}.\n${showPcr11(stdout, report)}`);
    },
  }),
  [
    [
      'mosb uki build --linux vmlinuz --initrd initrd.zst --cmdline "root=/dev/mapper/root ro" --output linux.efi',
      "unsigned",
    ],
    [
      "mosb uki build --linux vmlinuz --initrd initrd.zst --cmdline @cmdline --pcr-private-key pcr.pem --key uki.pem --cert uki.crt --output linux.efi",
      "with signed PCR values, signed for Secure Boot",
    ],
    [
      "mosb uki build --linux vmlinuz --initrd initrd.zst --hostfs oci:root:1 --cmdline console=ttyS0 --key uki.pem --cert uki.crt --output bootkit/kernel.efi",
      "for a root of your own, as the target hostfs of a manifest brings it",
    ],
  ],
);

interface SignFlags extends JsonFlag {
  readonly key: string;
  readonly cert: string;
  readonly output?: string;
}

export const ukiSign = withExamples(
  buildCommand<SignFlags, [string], CliContext>({
    docs: {
      brief: "Sign a unified kernel image for Secure Boot",
      fullDescription: "As trust sign efi, for a file that is a UKI.",
    },
    parameters: {
      flags: {
        key: required("Private key, PKCS#8 PEM", "KEY.pem"),
        cert: required("Its certificate, PEM", "CERT.pem"),
        output: optional("Where to write (default: UKI.efi.signed)", "OUT"),
        json: jsonFlag,
      },
      positional: uki,
    },
    async func(flags, input) {
      const { stdout } = this.terminal;
      const { readImageFile, readSigner, writeOutput } = await import("../../efi/image-file.ts");
      const { signImage } = await import("../../efi/sign-image.ts");
      const { key, certificate } = await readSigner(flags.key, flags.cert);
      const bytes = await readImageFile(input);
      await inspect(bytes, input);
      const output = flags.output ?? `${input}.signed`;
      const written = await writeOutput(output, signImage(bytes, key, certificate, input), input);
      if (flags.json) return stdout.write(jsonText({ output, written, signer: certificate.subject.text }));
      const done = written ? "Signed" : "Nothing to do: signed already is";
      stdout.write(`${done} ${output}, as ${certificate.subject.text}.\n`);
    },
  }),
  [["mosb uki sign --key uki.pem --cert uki.crt linux.efi", "to linux.efi.signed"]],
);

function showSignatures({ signatures }: UkiReport): readonly (readonly [string, Cell])[] {
  if (signatures.length === 0) return [["signature", { text: "none", look: "yellow" }]];
  return signatures.map(({ subject, problem }) => [
    "signature",
    problem === undefined ? `${subject}, holds for this file` : { text: problem, look: "red" },
  ]);
}

function showPcrSignatures(stdout: OutputStream, { pcrSignatures }: UkiReport): string {
  if (pcrSignatures.length === 0) return "";
  const rows = pcrSignatures.map(({ bank, pcrs, phase, key, verdict }): readonly Cell[] => [
    `${bank}:${pcrs.join(",")}`,
    phase ?? "-",
    key,
    verdict === "holds" ? verdict : { text: verdict, look: "red" },
  ]);
  return `\n${table(stdout, ["PCR SIGNATURE", "PHASE", "KEY", "VERDICT"], rows)}`;
}

export const ukiInspect = withExamples(
  buildCommand<JsonFlag, [string], CliContext>({
    docs: {
      brief: "Show what is in a unified kernel image",
      fullDescription: `Shows the sections, the command line, whose signatures hold for this very file (not whether they are to be
trusted: that is trust verify efi), what PCR 11 will be, and whether the PCR signatures in it are for that.`,
    },
    parameters: { flags: { json: jsonFlag }, positional: uki },
    async func(flags, input) {
      const { stdout } = this.terminal;
      const { readImageFile } = await import("../../efi/image-file.ts");
      const bytes = await readImageFile(input);
      const report = await inspect(bytes, input);
      if (flags.json) return stdout.write(jsonText({ file: input, size: bytes.length, ...report }));
      const name = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(report.osRelease ?? "")?.[1];
      stdout.write(
        keyValues(stdout, [
          ["file", `${input}, ${formatBytes(bytes.length)}`],
          ["command line", report.commandLine ?? { text: "none: it takes any", look: "red" }],
          ["system", name],
          ["kernel", report.uname],
          ["digest", report.digest],
          ...showSignatures(report),
        ]),
      );
      const rows = report.sections.map(({ name: section, size, sha256 }) => [
        section,
        formatBytes(size),
        sha256,
      ]);
      stdout.write(`\n${table(stdout, ["SECTION", "SIZE", "SHA-256"], rows)}`);
      stdout.write(showPcr11(stdout, report) + showPcrSignatures(stdout, report));
    },
  }),
  [["mosb uki inspect --json linux.efi", "the same for a script"]],
);
