// `mosctl verify REF`: would this device accept that manifest?
import { resolve } from "node:path";
import { buildCommand } from "@stricli/core";
import { requestVerify } from "../../agent/client.ts";
import type { AgentContext } from "../../agent/context.ts";
import type { VerifyLevel, VerifyResult } from "../../agent/verify.ts";
import { MosError } from "../../errors/mos-error.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText, keyValues, table } from "../output.ts";
import { startProgress } from "../progress.ts";
import { releaseText } from "../release-text.ts";
import { absoluteReference } from "./update.ts";

interface VerifyFlags extends JsonFlag {
  readonly ca?: string;
  readonly offlineImages?: boolean;
  readonly content?: boolean;
}

const levels: Readonly<Record<VerifyLevel, string>> = {
  signature: "the manifest's signature and chain; the images are not at hand and were NOT checked",
  images:
    "signature and chain, and every image's manifest and configuration; layers are checked when fetched and read",
  content: "signature and chain, and every byte of every image",
};

function levelOf({ offlineImages, content }: VerifyFlags): VerifyLevel {
  if (offlineImages && content)
    throw new MosError("usage", "cannot check the content of images that are not at hand");
  if (offlineImages) return "signature";
  return content ? "content" : "images";
}

/** The context of somebody who trusts a CA of their own, whatever this machine's policy says. */
function trusting(context: AgentContext, ca: string): AgentContext {
  const { trust } = context;
  const builtIn = { ...trust.builtIn, source: "--ca", anchors: [`file:${ca}` as const] };
  const nowhere = { state: "/nonexistent", run: context.places.run };
  return {
    ...context,
    places: nowhere,
    trust: { ...trust, policies: [], builtIn, deviceCertificates: [] },
  };
}

async function verify(reference: string, ca: string | undefined, level: VerifyLevel): Promise<VerifyResult> {
  // With a CA of the caller's own the device's policy has no part in it. The agent's answer is for its owner.
  if (ca === undefined && process.getuid?.() === 0) {
    const answer = await requestVerify(reference, level);
    if (answer !== undefined) return answer;
  }
  const [{ deviceContext }, { verifyReference }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/verify.ts"),
  ]);
  const context = deviceContext();
  return await verifyReference(ca === undefined ? context : trusting(context, resolve(ca)), reference, level);
}

export const verifyCommand = withExamples(
  buildCommand<VerifyFlags, [string], CliContext>({
    docs: {
      brief: "Check a published manifest without touching the device",
      fullDescription:
        "Says who signed a manifest, which anchor vouches for the signer, and how far the check went.",
    },
    parameters: {
      flags: {
        ca: {
          kind: "parsed",
          parse: (input: string) => input,
          brief: "CA certificates to trust instead of the device's",
          placeholder: "FILE",
          optional: true,
        },
        offlineImages: {
          kind: "boolean",
          brief: "The images are not at hand: check the manifest alone",
          optional: true,
          withNegated: false,
        },
        content: {
          kind: "boolean",
          brief: "Check every byte of every layer too",
          optional: true,
          withNegated: false,
        },
        json: jsonFlag,
      },
      positional: {
        kind: "tuple",
        parameters: [{ brief: "the manifest", placeholder: "REF", parse: (input: string) => input }],
      },
    },
    async func(flags, reference) {
      const { stdout } = this.terminal;
      const level = levelOf(flags);
      const progress = startProgress(this.terminal, {
        what: "verifying",
        unit: "items",
        json: flags.json === true,
      });
      let result: VerifyResult;
      try {
        result = await verify(absoluteReference(reference), flags.ca, level);
      } finally {
        progress.stop();
      }
      if (flags.json) return stdout.write(jsonText(result));
      stdout.write("Verified.\n\n");
      stdout.write(
        keyValues(stdout, [
          ["checked", levels[result.level]],
          ["product", result.manifest.product],
          ["manifest", result.manifestDigest],
          ["artifact", result.artifactDigest],
          ["policy", result.policy],
          ["release", releaseText(result.manifest.release)],
          ...result.signers.flatMap((signer): [string, string][] => [
            ["signed by", `${signer.subject} (${signer.algorithm})`],
            ["vouched for by", `${signer.anchor.subject} (${signer.anchor.source})`],
          ]),
        ]),
      );
      const rows = result.manifest.targets.map(({ service_name, version, service_type, digest }) => [
        service_name,
        version,
        service_type,
        digest,
      ]);
      stdout.write(`\n${table(stdout, ["TARGET", "VERSION", "TYPE", "IMAGE"], rows)}`);
    },
  }),
  [
    ["mosctl verify registry.example.com/machine/install:1.0.0", "against this device's anchors"],
    [
      "mosctl verify oci:DIR:1.0.0 --ca manifestCA.pem --offline-images",
      "the manifest alone, against a CA of your own",
    ],
  ],
);
