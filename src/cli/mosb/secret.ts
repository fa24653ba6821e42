// `mosb secret encrypt`.
import { buildCommand } from "@stricli/core";
import { MosError } from "../../errors/mos-error.ts";
import type { ImportManifest } from "../../manifest/schema.ts";
import type { Secret } from "../../manifest/secret-schema.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { manifestFile, readManifest } from "./manifest-file.ts";

const word = (input: string): string => input;

interface EncryptFlags extends JsonFlag {
  readonly to: readonly string[];
  readonly service: string;
  readonly name: string;
  readonly file?: string;
}

/** A name that is not one of a manifest's is a mistake that only a device would notice. */
function checkService({ targets }: ImportManifest, service: string): void {
  const target = targets.find(({ service_name }) => service_name === service);
  if (target?.service_type === "container") return;
  const names = targets.flatMap(({ service_name, service_type }) =>
    service_type === "container" ? [service_name] : [],
  );
  throw new MosError("usage", `the manifest has no container of the name ${service}`, {
    about: service,
    hint: `It has: ${names.join(", ") || "none"}.`,
  });
}

async function readInput(file: string | undefined): Promise<Uint8Array> {
  const { readSecret, readSecretFile } = await import("../../publish/secrets.ts");
  if (file !== undefined) return await readSecretFile(file);
  if (process.stdin.isTTY === true) {
    throw new MosError("usage", "will not read a secret from a terminal, where it would be seen", {
      hint: "Give it with --file FILE, or from another program: pass show demo/token | mosb secret encrypt …",
    });
  }
  return await readSecret(process.stdin, "standard input");
}

/** One entry of a target's `secrets:`. Quoted is what YAML could take for a number: names, and digits of a hash. */
function yamlOf({ name, data, recipients }: Secret): string {
  const lines = [
    `- name: "${name}"`,
    "  encrypted:",
    `    data: ${data}`,
    "    recipients:",
    ...recipients.flatMap(({ key, sealed }) => [`      - key: "${key}"`, `        sealed: ${sealed}`]),
  ];
  return `${lines.join("\n")}\n`;
}

function checkName(name: string, parse: (name: string) => { readonly success: boolean }): void {
  if (parse(name).success) return;
  throw new MosError("name-invalid", "cannot use this name for a secret", {
    about: name,
    hint: "It is a file's name: 1 to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit.",
  });
}

export const secretEncrypt = withExamples(
  buildCommand<EncryptFlags, [string], CliContext>({
    docs: {
      brief: "Encrypt a secret to devices, for a manifest",
      fullDescription: `Reads a secret from standard input, byte for byte, and prints what goes below the secrets: of a service. Only the
TPMs of the given devices can open it, and only for this product, service and name. The result can be kept with the
manifest: it is the same to publish, and a service restarts only when the secret itself has changed.`,
    },
    parameters: {
      flags: {
        to: {
          kind: "parsed",
          parse: word,
          brief: "A device's key, as mosctl secret-key printed it; once for each device",
          placeholder: "DEVICE.pem",
          variadic: true,
        },
        service: {
          kind: "parsed",
          parse: word,
          brief: "The service that gets it",
          placeholder: "SERVICE",
        },
        name: {
          kind: "parsed",
          parse: word,
          brief: "Name of the file in which the service finds it",
          placeholder: "NAME",
        },
        file: {
          kind: "parsed",
          parse: word,
          brief: "Read the secret from a file instead",
          placeholder: "FILE",
          optional: true,
        },
        json: jsonFlag,
      },
      positional: manifestFile,
    },
    async func(flags, manifestPath) {
      const manifest = await readManifest(manifestPath);
      checkService(manifest, flags.service);
      const { secretNameSchema } = await import("../../manifest/names.ts");
      checkName(flags.name, (name) => secretNameSchema.safeParse(name));
      const { encryptSecret, readRecipients } = await import("../../publish/secrets.ts");
      const recipients = await readRecipients(flags.to);
      if (recipients.length === 0)
        throw new MosError("usage", "cannot encrypt to nobody: give --to DEVICE.pem");
      const place = { product: manifest.product, service: flags.service, name: flags.name };
      const { name, ...encrypted } = encryptSecret(recipients, place, await readInput(flags.file));
      this.terminal.stdout.write(flags.json ? jsonText({ name, encrypted }) : yamlOf({ name, ...encrypted }));
    },
  }),
  [
    [
      "mosb secret encrypt --to machine-1.pem --to machine-2.pem --service web --name token manifest.yaml < token",
      "an entry for the secrets: of web",
    ],
  ],
);
