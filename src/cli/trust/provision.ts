// `trust provision|initrd-setup|preinstall|extend-pcr7`: what happens with a device's TPM, from the factory to each
// start.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { buildCommand } from "@stricli/core";
import { asMosError, MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { startProgress } from "../progress.ts";
import { type TpmFlag, tpmFlag, tpmOf } from "../tpm-flags.ts";
import { word } from "./parameters.ts";

/** What the initrd passes on (initrd-hooks), and in it the approved policies. */
const initrdDirectory = "/run/mos/initrd";

const initrdFlag = {
  kind: "parsed",
  parse: word,
  brief: `Directory with policy.json and pcr7data (default: ${initrdDirectory})`,
  placeholder: "DIR",
  optional: true,
} as const;

const signdataOf = (initrd: string | undefined): string => join(initrd ?? initrdDirectory, "pcr7data");

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read ${path}: ${asMosError(error).message}`, {
      about: path,
      cause: error,
    });
  }
}

interface ProvisionFlags extends JsonFlag, TpmFlag {
  readonly wipe?: boolean;
  readonly initrd?: string;
  readonly keyset?: string;
  readonly anchor?: string;
}

export const provisionCommand = withExamples(
  buildCommand<ProvisionFlags, [string, string], CliContext>({
    docs: {
      brief: "Make this machine's TPM that of a device",
      fullDescription: `Clears the TPM, and puts into it the device's certificate and key, its passphrases, the counter of the epoch and,
with --anchor, the manifest CA. Secrets are readable only while PCR 7 has a value that the keyset has approved.
The passwords of the TPM are random, and stored where only the UKI that provisions reads them.

Everything that only the TPM knows is lost. Destroy the files of the key afterwards, or keep them offline.`,
    },
    parameters: {
      flags: {
        wipe: {
          kind: "boolean",
          brief: "Clear a TPM that was provisioned before",
          optional: true,
          withNegated: false,
        },
        anchor: {
          kind: "parsed",
          parse: word,
          brief: "Manifest CA (PEM) for the policy's anchor tpm-nv:0x01500063",
          placeholder: "FILE",
          optional: true,
        },
        keyset: {
          kind: "parsed",
          parse: word,
          brief: "Whose approved policies, where there are several",
          placeholder: "KEYSET",
          optional: true,
        },
        initrd: initrdFlag,
        tpm: tpmFlag,
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [
          { brief: "the device's certificate (trust sudi add)", placeholder: "CERT", parse: word },
          { brief: "its private key", placeholder: "KEY", parse: word },
        ],
      },
    },
    async func(flags, certificatePath, keyPath) {
      const { stdout } = this.terminal;
      const [{ provision }, { readPolicyKeys }] = await Promise.all([
        import("../../provision/provision.ts"),
        import("../../provision/signdata.ts"),
      ]);
      const { adminKeyPem, systemKeyPem } = await readPolicyKeys(signdataOf(flags.initrd), flags.keyset);
      const progress = startProgress(this.terminal, {
        what: "provisioning",
        unit: "items",
        json: flags.json === true,
      });
      let step = 0;
      try {
        await provision({
          tpm: tpmOf(flags),
          certificate: await readText(certificatePath),
          privateKey: await readText(keyPath),
          adminKey: adminKeyPem,
          systemKey: systemKeyPem,
          ...(flags.anchor === undefined ? {} : { anchor: Buffer.from(await readText(flags.anchor)) }),
          wipe: flags.wipe === true,
          onStep: (what) => progress.update(step++, 6, what),
        });
      } finally {
        progress.stop();
      }
      if (flags.json) return stdout.write(jsonText({ provisioned: true }));
      stdout.write("Provisioned.\n\nNext: start the machine with its production UKI.\n");
    },
  }),
  [
    [
      "trust provision cert.pem privkey.pem --anchor manifestCA.pem",
      "in the factory, started by the TPM UKI",
    ],
    ["trust provision --wipe cert.pem privkey.pem", "a device that gets a new identity"],
  ],
);

interface InitrdFlags extends JsonFlag, TpmFlag {
  readonly initrd?: string;
  readonly directory?: string;
}

export const initrdSetupCommand = withExamples(
  buildCommand<InitrdFlags, [], CliContext>({
    docs: {
      brief: "Take the device's secrets out of the TPM, and close it (in the initrd)",
      fullDescription: `Writes the device's certificate and key to a directory in memory and the system's passphrase into the kernel's
keyring, then extends PCR 7, after which nothing reads them until the next start. PCR 7 is extended whatever
happens; when this fails, the system must not be started.`,
    },
    parameters: {
      flags: {
        initrd: initrdFlag,
        directory: {
          kind: "parsed",
          parse: word,
          brief: "Where certificate and key are put (default: /run/mos/secure)",
          placeholder: "DIR",
          optional: true,
        },
        tpm: tpmFlag,
        json: jsonFlag,
      },
    },
    async func(flags) {
      const { stdout } = this.terminal;
      const [{ initrdSetup }, { builtInPolicy, loadPolicy }] = await Promise.all([
        import("../../provision/initrd-setup.ts"),
        import("../../trust/policy.ts"),
      ]);
      const initrd = flags.initrd ?? initrdDirectory;
      let outcome: "ready" | "unprovisioned" | "no-tpm";
      let policy = { ...builtInPolicy, tpm: "required" as "required" | "optional" };
      try {
        policy = await loadPolicy([join(initrd, "policy.json")], builtInPolicy);
      } finally {
        // A policy that cannot be read changes nothing about what has to be closed.
        outcome = await initrdSetup({
          tpm: tpmOf(flags),
          signdata: signdataOf(initrd),
          directory: flags.directory ?? "/run/mos/secure",
        }).catch((error: unknown) => {
          if (error instanceof MosError && error.code === "tpm-missing" && policy.tpm === "optional")
            return "no-tpm";
          throw error;
        });
      }
      if (outcome === "unprovisioned" && policy.tpm === "required") {
        throw new MosError(
          "tpm-unprovisioned",
          "cannot start: the policy requires a TPM that was provisioned",
        );
      }
      const said = {
        ready: "The device's secrets are in memory, and PCR 7 is closed.",
        unprovisioned: "The TPM was not provisioned; PCR 7 is closed.",
        "no-tpm": "There is no TPM, and the policy does not require one.",
      } as const;
      stdout.write(flags.json ? jsonText({ outcome }) : `${said[outcome]}\n`);
    },
  }),
  [["trust initrd-setup", "what mos-initrd.service runs before the system starts"]],
);

export const preinstallCommand = withExamples(
  buildCommand<Pick<InitrdFlags, "json" | "tpm" | "initrd">, [], CliContext>({
    docs: {
      brief: "Give the system a new passphrase, and close the TPM (in an installer's initrd)",
      fullDescription:
        "What an earlier installation has encrypted with the old passphrase cannot be read any more. PCR 7 is extended whatever happens.",
    },
    parameters: { flags: { initrd: initrdFlag, tpm: tpmFlag, json: jsonFlag } },
    async func(flags) {
      const { preinstall } = await import("../../provision/initrd-setup.ts");
      await preinstall({ tpm: tpmOf(flags), signdata: signdataOf(flags.initrd) });
      const { stdout } = this.terminal;
      stdout.write(
        flags.json
          ? jsonText({ outcome: "ready" })
          : "The system has a new passphrase, and PCR 7 is closed.\n",
      );
    },
  }),
  [["trust preinstall", "before a system is installed"]],
);

export const extendPcr7Command = withExamples(
  buildCommand<JsonFlag & TpmFlag, [], CliContext>({
    docs: {
      brief: "Extend PCR 7: nothing reads the device's secrets until the next start",
      fullDescription:
        'Extends PCR 7 (SHA-256) by the constant of the published system, sha256("atomix\\n").',
    },
    parameters: { flags: { tpm: tpmFlag, json: jsonFlag } },
    async func(flags) {
      const [{ Tpm }, { closePcr7 }] = await Promise.all([
        import("../../tpm/tpm.ts"),
        import("../../provision/close-pcr7.ts"),
      ]);
      await using tpm = await Tpm.open(tpmOf(flags));
      await closePcr7(tpm);
      const { stdout } = this.terminal;
      if (flags.json) return stdout.write(jsonText({ closed: true }));
      stdout.write(keyValues(stdout, [["PCR 7", "closed until the next start"]]));
    },
  }),
  [["trust extend-pcr7", "on a machine that needs no secrets"]],
);
