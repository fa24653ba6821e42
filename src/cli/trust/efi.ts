// `trust sign efi`, `trust verify efi`.
import { buildCommand } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { word } from "./parameters.ts";

const file = (brief: string, placeholder: string) =>
  ({ kind: "parsed", parse: word, brief, placeholder }) as const;

const program = {
  kind: "tuple",
  parameters: [{ brief: "the EFI program", placeholder: "FILE", parse: word }],
} as const;

interface SignFlags extends JsonFlag {
  readonly key: string;
  readonly cert: string;
  readonly output?: string;
}

export const signEfi = withExamples(
  buildCommand<SignFlags, [string], CliContext>({
    docs: {
      brief: "Sign an EFI program for Secure Boot",
      fullDescription: `Adds an Authenticode signature to an EFI program: a boot loader, a shim, a unified kernel image. The same
input gives the same bytes. The result is verified before it appears; an output that is there already with other
content is not replaced, unless it is FILE itself.`,
    },
    parameters: {
      flags: {
        key: file("Private key, unencrypted PKCS#8 PEM", "KEY.pem"),
        cert: file("Its certificate, PEM", "CERT.pem"),
        output: { ...file("Where to write (default: FILE.signed)", "OUT"), optional: true },
        json: jsonFlag,
      },
      positional: program,
    },
    async func(flags, input) {
      const { stdout } = this.terminal;
      const { readImageFile, readSigner, writeOutput } = await import("../../efi/image-file.ts");
      const { signImage } = await import("../../efi/sign-image.ts");
      const { key, certificate } = await readSigner(flags.key, flags.cert);
      const output = flags.output ?? `${input}.signed`;
      const signed = signImage(await readImageFile(input), key, certificate, input);
      const written = await writeOutput(output, signed, input);
      if (flags.json) return stdout.write(jsonText({ output, written, signer: certificate.subject.text }));
      stdout.write(
        written
          ? `Signed ${output} as ${certificate.subject.text}.\n`
          : `Nothing to do: ${output} is signed already, as ${certificate.subject.text}.\n`,
      );
    },
  }),
  [
    [
      'trust sign efi --key "$(trust keyset show demo uefi-db privkey.pem --path)" --cert "$(trust keyset show demo uefi-db cert.pem --path)" linux.efi',
      "with the key of a keyset, to linux.efi.signed",
    ],
    ["trust sign efi --key db.key --cert db.pem --output linux.efi linux.efi", "in place"],
  ],
);

interface VerifyFlags extends JsonFlag {
  readonly cert: string;
}

export const verifyEfi = withExamples(
  buildCommand<VerifyFlags, [string], CliContext>({
    docs: {
      brief: "Check who signed an EFI program",
      fullDescription: `Recomputes the Authenticode digest of the file, and checks that the certificate, or one that it issued, made a
signature over it. The dates of certificates do not count, as they do not for firmware.`,
    },
    parameters: {
      flags: { cert: file("Certificates that may vouch, PEM", "CERT.pem"), json: jsonFlag },
      positional: program,
    },
    async func(flags, input) {
      const { stdout } = this.terminal;
      const { readCertificateFile, readImageFile } = await import("../../efi/image-file.ts");
      const { parsePe } = await import("../../efi/pe.ts");
      const { verifyImage } = await import("../../efi/verify-image.ts");
      const trusted = await readCertificateFile(flags.cert);
      const { certificate, anchor, digest } = verifyImage(
        parsePe(await readImageFile(input), input),
        trusted,
      );
      const document = {
        file: input,
        digest: Buffer.from(digest).toString("hex"),
        signer: { subject: certificate.subject.text, fingerprint: certificate.fingerprint },
        anchor: { subject: anchor.subject.text, fingerprint: anchor.fingerprint },
      };
      if (flags.json) return stdout.write(jsonText(document));
      stdout.write(`${input} is signed by a trusted key.\n\n`);
      stdout.write(
        keyValues(stdout, [
          ["signer", document.signer.subject],
          ["  SHA-256", document.signer.fingerprint],
          ["vouched for by", document.anchor.subject],
          ["digest", document.digest],
        ]),
      );
    },
  }),
  [["trust verify efi --cert db.pem linux.efi", "would a firmware with db.pem in its db run it?"]],
);
