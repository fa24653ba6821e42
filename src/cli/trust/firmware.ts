// `trust computePCR7`, `trust efivars`: what the keys of a keyset mean to a firmware.
import { buildCommand } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { keysetParameter, rootOf, word } from "./parameters.ts";

const manifestCaFlag = {
  kind: "boolean",
  brief: "Whether the manifest CA is in db, where devices can find it",
  default: true,
} as const;

interface ComputeFlags extends JsonFlag {
  readonly direct?: boolean;
  readonly manifestCa: boolean;
}

export const computePcr7 = withExamples(
  buildCommand<ComputeFlags, [string], CliContext>({
    docs: {
      brief: "Compute PCR 7 of a device with this keyset",
      fullDescription: `Computes what PCR 7 (SHA-256) will be on an OVMF firmware with the keys of a keyset: over the published shim, for
a UKI of each role; or with --direct, for a production UKI that the firmware starts itself, with the variables that
trust efivars makes. Other firmware measures other things: use values that were measured there.`,
    },
    parameters: {
      flags: {
        direct: { kind: "boolean", brief: "Without shim", optional: true, withNegated: false },
        manifestCa: { ...manifestCaFlag, brief: "With --direct: whether the manifest CA is in db" },
        json: jsonFlag,
      },
      positional: { kind: "tuple", parameters: [keysetParameter] },
    },
    async func(flags, keyset) {
      const { directPcr7, readFirmwareKeys, shimPcr7 } = await import("../../efi/keyset-firmware.ts");
      const keys = await readFirmwareKeys(rootOf(this), keyset);
      const values = flags.direct ? { production: directPcr7(keys, flags.manifestCa) } : shimPcr7(keys);
      const named = Object.fromEntries(Object.entries(values).map(([uki, value]) => [`uki-${uki}`, value]));
      const { stdout } = this.terminal;
      if (flags.json) return stdout.write(jsonText(named));
      for (const [name, value] of Object.entries(named)) stdout.write(`${name}: ${value}\n`);
    },
  }),
  [
    ["trust computePCR7 demo", "over shim: uki-production, uki-limited, uki-tpm"],
    ["trust computePCR7 --direct demo", "a UKI that the firmware starts itself"],
  ],
);

interface EfivarsFlags extends JsonFlag {
  readonly input: string;
  readonly output: string;
  readonly manifestCa: boolean;
}

export const efivars = withExamples(
  buildCommand<EfivarsFlags, [string], CliContext>({
    docs: {
      brief: "Put the keys of a keyset into OVMF variables",
      fullDescription: `Makes a variable store for a virtual machine, with Secure Boot on: PK and KEK of the keyset; in db its uefi-db and
uki-production certificates, and the manifest CA, so that the firmware is where a device finds its trust anchor. A
key under the manifest CA may then sign EFI programs too: leave it out with --no-manifest-ca where that is too much.
The work is done by virt-fw-vars (Debian: python3-virt-firmware).`,
    },
    parameters: {
      flags: {
        input: { kind: "parsed", parse: word, brief: "Variables without keys", placeholder: "OVMF_VARS.fd" },
        output: { kind: "parsed", parse: word, brief: "Where to write", placeholder: "VARS.fd" },
        manifestCa: manifestCaFlag,
        json: jsonFlag,
      },
      positional: { kind: "tuple", parameters: [keysetParameter] },
    },
    async func(flags, keyset) {
      const { directPcr7, readFirmwareKeys } = await import("../../efi/keyset-firmware.ts");
      const { makeVariables } = await import("../../efi/ovmf-variables.ts");
      const { input, output, manifestCa: withManifestCa } = flags;
      const keys = await readFirmwareKeys(rootOf(this), keyset);
      const written = await makeVariables({ keys, withManifestCa, input, output });
      const pcr7 = directPcr7(keys, withManifestCa);
      const { stdout } = this.terminal;
      if (flags.json) return stdout.write(jsonText({ output, written, pcr7 }));
      stdout.write(written ? `Wrote ${output}.\n\n` : `Nothing to do: ${output} is there already.\n\n`);
      const db = ["uefi-db", "uki-production", ...(withManifestCa ? ["manifest-ca"] : [])];
      stdout.write(
        keyValues(stdout, [
          ["db", db.join(", ")],
          ["PCR 7 with a production UKI", pcr7],
        ]),
      );
    },
  }),
  [
    [
      "trust efivars demo --input /usr/share/OVMF/OVMF_VARS_4M.fd --output demo-vars.fd",
      "variables for a machine that boots only what demo signed",
    ],
  ],
);
