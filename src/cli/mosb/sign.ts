// `mosb manifest sign`.
import { buildCommand } from "@stricli/core";
import { openWritable } from "../../oci/open.ts";
import { parseReference } from "../../oci/reference.ts";
import type { Signed } from "../../publish/sign.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues } from "../output.ts";
import { releaseText } from "../release-text.ts";
import type { OutputStream } from "../terminal.ts";
import { createdTime, openSigners, type SignerFlags, signerFlags } from "./signers.ts";

type SignFlags = JsonFlag & SignerFlags;

function showSigned(stdout: OutputStream, reference: string, { outcome, ...signed }: Signed): string {
  return [
    outcome === "unchanged" ? "Nothing to do: signed already.\n\n" : "Signed.\n\n",
    keyValues(stdout, [
      ["reference", reference],
      ["product", signed.manifest.product],
      ["release", releaseText(signed.manifest.release)],
      ["manifest", signed.manifestDigest],
      ["artifact", signed.artifactDigest],
    ]),
  ].join("");
}

export const manifestSign = withExamples(
  buildCommand<SignFlags, [string], CliContext>({
    docs: {
      brief: "Add a signature to a published manifest",
      fullDescription: `Signs a manifest that is published already, for devices whose policy asks for several signers. The manifest and
its tag stay as they are; what was signed is shown, so that its digest can be compared.`,
    },
    parameters: {
      flags: {
        ...signerFlags,
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "the manifest", placeholder: "REF", parse: (input: string) => input }],
      },
    },
    async func(flags, reference) {
      const { stdout, env } = this.terminal;
      const parsed = parseReference(reference);
      const { install } = openWritable(parsed);
      const signers = await openSigners(env, flags);
      const { signPublished } = await import("../../publish/sign.ts");
      const created = createdTime(flags.created, env["SOURCE_DATE_EPOCH"]);
      const signed = await signPublished(install, parsed.reference, signers, created);
      stdout.write(flags.json ? jsonText({ reference, ...signed }) : showSigned(stdout, reference, signed));
    },
  }),
  [
    [
      "mosb manifest sign --project second:zot registry.example.com/machine/install:1.0.0",
      "the second of two signers, on a machine of their own",
    ],
  ],
);
