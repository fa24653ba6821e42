// `trust attest nonce|verify`: the verifier's side of an attestation, on any machine.
import { open } from "node:fs/promises";
import { buildCommand } from "@stricli/core";
import type { Expectations } from "../../attest/verify.ts";
import { asMosError, MosError } from "../../errors/mos-error.ts";
import { type Digest, isDigest } from "../../oci/digest.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { verdictDocument, verdictText } from "./attest-verdict.ts";
import { word } from "./parameters.ts";

export const attestNonce = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "Make a fresh nonce for mosctl attest",
      fullDescription:
        "Prints 32 random bytes in hex. Use each once, and keep it until the answer is verified.",
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { freshNonce } = await import("../../attest/nonce.ts");
      const nonce = Buffer.from(freshNonce()).toString("hex");
      this.terminal.stdout.write(flags.json ? jsonText({ nonce }) : `${nonce}\n`);
    },
  }),
  [["NONCE=$(trust attest nonce)", "then, on the device: mosctl attest --nonce $NONCE"]],
);

interface VerifyFlags extends JsonFlag {
  readonly nonce: string;
  readonly ca: string;
  readonly product?: string;
  readonly machine?: string;
  readonly attestationKey?: string;
  readonly pcr?: readonly (readonly [number, string])[];
  readonly manifestDigest?: Digest;
  readonly manifestCa?: string;
  readonly minEpoch?: number;
  readonly requireSecureBoot: boolean;
  readonly requireClosed: boolean;
}

const optional = (brief: string, placeholder: string) =>
  ({ kind: "parsed", parse: word, brief, placeholder, optional: true }) as const;

/** `N=HEX`, an expected value of a SHA-256 PCR. */
function parsePcr(input: string): readonly [number, string] {
  const [, number, value] = /^([0-9]{1,2})=([0-9a-fA-F]{64})$/.exec(input) ?? [];
  if (number === undefined || value === undefined)
    throw new SyntaxError("it is not N= and 64 hex digits (SHA-256)");
  return [Number(number), value.toLowerCase()];
}

function parseEpoch(input: string): number {
  if (!/^[0-9]{1,15}$/.test(input)) throw new SyntaxError("it is not a number");
  return Number(input);
}

function parseDigest(input: string): Digest {
  if (isDigest(input)) return input;
  throw new SyntaxError("it is not sha256: and 64 lower-case hex digits");
}

function parseKeyName(input: string): string {
  if (!/^000b[0-9a-f]{64}$/.test(input))
    throw new SyntaxError("it is not a Name: 000b and 64 lower-case hex digits");
  return input;
}

async function readDocument(path: string): Promise<Uint8Array> {
  const { maxDocumentSize } = await import("../../attest/document.ts");
  try {
    await using handle = await open(path, "r");
    const { size } = await handle.stat();
    if (size <= maxDocumentSize) return await handle.readFile();
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${path}: ${asMosError(error).message}`, {
      about: path,
      cause: error,
    });
  }
  throw new MosError("file-unreadable", `cannot read ${path}: it has more than ${maxDocumentSize} bytes`, {
    about: path,
  });
}

async function expectationsOf(flags: VerifyFlags): Promise<Expectations> {
  const [{ parseNonce }, { readCertificateFile }] = await Promise.all([
    import("../../attest/nonce.ts"),
    import("../../efi/image-file.ts"),
  ]);
  const { product, machine, attestationKey, manifestDigest, manifestCa, minEpoch } = flags;
  return {
    nonce: parseNonce(flags.nonce),
    deviceCas: await readCertificateFile(flags.ca),
    now: new Date(),
    ...{ product, machine, attestationKey, manifestDigest, minEpoch },
    manifestCas: manifestCa === undefined ? undefined : await readCertificateFile(manifestCa),
    pcrs: new Map(flags.pcr),
    requireSecureBoot: flags.requireSecureBoot,
    requireClosed: flags.requireClosed,
  };
}

export const attestVerify = withExamples(
  buildCommand<VerifyFlags, [string], CliContext>({
    docs: {
      brief: "Check what a device proves about itself",
      fullDescription: `Checks a document of mosctl attest: the device's certificate, that its key vouches for the key in the TPM, the
TPM's quote and the nonce in it, that the event log leads to the quoted PCRs, and what you expect of them.
docs/how-to/attest.md says what is proved, and what is not.`,
    },
    parameters: {
      flags: {
        nonce: {
          kind: "parsed",
          parse: word,
          brief: "The nonce that the device was asked with",
          placeholder: "HEX",
        },
        ca: {
          kind: "parsed",
          parse: word,
          brief: "CA of the devices, PEM (a keyset's sudi-ca)",
          placeholder: "SUDI_CA.pem",
        },
        product: optional("The device has to be of this product", "UUID"),
        machine: optional("It has to be this machine", "MACHINE"),
        attestationKey: {
          ...optional("Its TPM has to have this key, as an earlier attestation said", "NAME"),
          parse: parseKeyName,
        },
        pcr: {
          kind: "parsed",
          parse: parsePcr,
          brief: "Value that a PCR has to have (SHA-256; PCR 7: before it was closed); repeatable",
          placeholder: "N=HEX",
          optional: true,
          variadic: true,
        },
        manifestDigest: {
          ...optional("This manifest has to be applied", "sha256:HEX"),
          parse: parseDigest,
        },
        manifestCa: optional("CA that has to vouch for the applied manifest, PEM", "FILE"),
        minEpoch: {
          kind: "parsed",
          parse: parseEpoch,
          brief: "The lowest epoch that the applied manifest may have",
          placeholder: "N",
          optional: true,
        },
        requireSecureBoot: {
          kind: "boolean",
          default: true,
          brief: "Refuse a device that was not started under Secure Boot",
        },
        requireClosed: {
          kind: "boolean",
          default: true,
          brief: "Refuse a device whose PCR 7 was not closed before its system was started",
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "the document of mosctl attest", placeholder: "FILE", parse: word }],
      },
    },
    async func(flags, path) {
      const { stdout } = this.terminal;
      const expectations = await expectationsOf(flags);
      const [{ decodeAttestation }, { verifyAttestation }] = await Promise.all([
        import("../../attest/document.ts"),
        import("../../attest/verify.ts"),
      ]);
      const verdict = verifyAttestation(decodeAttestation(await readDocument(path)), expectations);
      stdout.write(flags.json ? jsonText(verdictDocument(verdict)) : verdictText(stdout, verdict));
    },
  }),
  [
    [
      'trust attest verify device.json --nonce $NONCE --ca "$(trust keyset show demo sudi-ca cert.pem --path)"',
      "is it one of ours, and started as it should be?",
    ],
    [
      "trust attest verify device.json --nonce $NONCE --ca sudi.pem --pcr 7=3c0a… --manifest-ca manifestCA.pem",
      "with the firmware's keys of yours, and a manifest that you signed",
    ],
  ],
);
