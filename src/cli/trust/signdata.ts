// `trust tpm-policy-gen` and `trust keyset pcr7data`: policies for the values of PCR 7 that a firmware leads to.
import { readFile } from "node:fs/promises";
import { buildCommand } from "@stricli/core";
import { asMosError, MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { keysetParameter, rootOf, word } from "./parameters.ts";

const file = (brief: string) => ({ kind: "parsed", parse: word, brief, placeholder: "FILE" }) as const;
const optionalFile = (brief: string) =>
  ({ kind: "parsed", parse: word, brief, placeholder: "FILE", optional: true }) as const;

async function readValue(path: string): Promise<Uint8Array> {
  const { checkPcrValue } = await import("../../provision/signdata-write.ts");
  try {
    return checkPcrValue(await readFile(path), path);
  } catch (error) {
    if (error instanceof MosError) throw error;
    throw new MosError("file-unreadable", `cannot read ${path}: ${asMosError(error).message}`, {
      about: path,
    });
  }
}

interface PolicyFlags extends JsonFlag {
  readonly pcr7Tpm: string;
  readonly pcr7Production: string;
  readonly passwdPolicyFile?: string;
  readonly luksPolicyFile?: string;
  readonly policyVersion?: string;
}

/** One that exists is somebody's: `wx` never writes over it. */
async function writeDigest(path: string, digest: Uint8Array): Promise<void> {
  const { createFile } = await import("../../system/atomic-file.ts");
  await createFile(path, digest, 0o400);
}

export const tpmPolicyGen = withExamples(
  buildCommand<PolicyFlags, [], CliContext>({
    docs: {
      brief: "Compute the policies for two values of PCR 7",
      fullDescription:
        "Writes the digests that a keyset's keys approve, 32 bytes each: of the password's policy for the UKI that provisions, and of the system's for the production UKI. No TPM is needed.",
    },
    parameters: {
      flags: {
        pcr7Tpm: file("PCR 7 after the start of the TPM UKI, 32 bytes"),
        pcr7Production: file("PCR 7 after the start of the production UKI, 32 bytes"),
        passwdPolicyFile: optionalFile("Where the password's policy goes (default: passwd_policy.bin)"),
        luksPolicyFile: optionalFile("Where the system's policy goes (default: luks_policy.bin)"),
        policyVersion: {
          kind: "parsed",
          parse: word,
          brief: "Version that the policies' NV index has to hold (default: 0001)",
          placeholder: "NNNN",
          optional: true,
        },
        json: jsonFlag,
      },
      aliases: {},
    },
    async func(flags) {
      const { stdout } = this.terminal;
      if (flags.policyVersion !== undefined && !/^[0-9]{4}$/.test(flags.policyVersion)) {
        throw new MosError("usage", `cannot use ${flags.policyVersion} as a policy version: it is 4 digits`);
      }
      const { policyDigest } = await import("../../provision/signdata-write.ts");
      const passwd = policyDigest("tpm", await readValue(flags.pcr7Tpm));
      const luks = policyDigest("production", await readValue(flags.pcr7Production), flags.policyVersion);
      const [passwdFile, luksFile] = [
        flags.passwdPolicyFile ?? "passwd_policy.bin",
        flags.luksPolicyFile ?? "luks_policy.bin",
      ];
      await writeDigest(passwdFile, passwd);
      await writeDigest(luksFile, luks);
      const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
      if (flags.json) return stdout.write(jsonText({ passwd: hex(passwd), luks: hex(luks) }));
      stdout.write(
        keyValues(stdout, [
          [passwdFile, hex(passwd)],
          [luksFile, hex(luks)],
        ]),
      );
    },
  }),
  [
    [
      "trust tpm-policy-gen --pcr7-tpm pcr7-tpm.bin --pcr7-production pcr7-prod.bin",
      "for values that were measured on a machine",
    ],
  ],
);

interface SigndataFlags extends JsonFlag {
  readonly pcr7Tpm: string;
  readonly pcr7Limited: string;
  readonly pcr7Prod: string;
  readonly passwdPolicy?: string;
  readonly luksPolicy?: string;
  readonly comment?: string;
}

export const keysetPcr7data = withExamples(
  buildCommand<SigndataFlags, [string], CliContext>({
    docs: {
      brief: "Approve values of PCR 7: what may read a device's secrets",
      fullDescription: `Signs, with the keyset's policy keys, the policies for the three values of PCR 7 that a firmware has after it has
started the keyset's production, limited and TPM UKI. The result goes into the initrd, as /etc/mos/initrd/pcr7data.
trust computePCR7 predicts the values for OVMF; on other firmware they are measured.`,
    },
    parameters: {
      flags: {
        pcr7Tpm: file("PCR 7 after the start of the TPM UKI, 32 bytes"),
        pcr7Limited: file("PCR 7 after the start of the limited UKI"),
        pcr7Prod: file("PCR 7 after the start of the production UKI"),
        passwdPolicy: optionalFile("Digest to approve for the password, instead of the one for --pcr7-tpm"),
        luksPolicy: optionalFile("Digest to approve for the system, instead of the one for --pcr7-prod"),
        comment: {
          kind: "parsed",
          parse: word,
          brief: "Which firmware this is",
          placeholder: "TEXT",
          optional: true,
        },
        json: jsonFlag,
      },
      positional: { kind: "tuple", parameters: [keysetParameter] },
    },
    async func(flags, keyset) {
      const { stdout } = this.terminal;
      const { addSigndata } = await import("../../provision/signdata-write.ts");
      const [production, limited, tpm] = await Promise.all(
        [flags.pcr7Prod, flags.pcr7Limited, flags.pcr7Tpm].map(readValue),
      );
      if (production === undefined || limited === undefined || tpm === undefined)
        throw new MosError("internal", "no PCR 7");
      const path = await addSigndata({
        ...{ root: rootOf(this), keyset, pcr7: { production, limited, tpm }, comment: flags.comment ?? "" },
        date: new Date().toISOString().slice(0, 10).replaceAll("-", ""),
        policies: {
          ...(flags.luksPolicy === undefined ? {} : { production: await readValue(flags.luksPolicy) }),
          ...(flags.passwdPolicy === undefined ? {} : { tpm: await readValue(flags.passwdPolicy) }),
        },
      });
      if (flags.json) return stdout.write(jsonText({ keyset, path }));
      stdout.write(`Approved.\n\n${keyValues(stdout, [["directory", path]])}`);
    },
  }),
  [
    [
      "trust keyset pcr7data demo --pcr7-tpm tpm.bin --pcr7-limited limited.bin --pcr7-prod prod.bin",
      "three measured values",
    ],
  ],
);
