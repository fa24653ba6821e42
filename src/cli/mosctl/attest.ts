// `mosctl attest`: proves to another machine what this device is and what it was started with.
import { buildCommand } from "@stricli/core";
import { requestAttestation } from "../../agent/client.ts";
import type { AttestationDocument } from "../../attest/document.ts";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";

interface AttestFlags extends JsonFlag {
  readonly nonce: string;
  readonly output?: string;
}

const word = (input: string): string => input;

async function attestation(text: string): Promise<AttestationDocument> {
  const { parseNonce } = await import("../../attest/nonce.ts");
  const nonce = parseNonce(text);
  const answer = await requestAttestation(text);
  if (answer !== undefined) return answer;
  const [{ deviceContext }, { attest }] = await Promise.all([
    import("../../agent/context.ts"),
    import("../../agent/attest.ts"),
  ]);
  return await attest(deviceContext(), nonce);
}

export const attestCommand = withExamples(
  buildCommand<AttestFlags, [], CliContext>({
    docs: {
      brief: "Prove to another machine what this device is and runs",
      fullDescription: `Answers a nonce with a quote of the TPM over what was measured at the start and over what was applied, with the
logs and certificates that a verifier needs. The document, JSON, holds no secret; trust attest verify reads it.`,
    },
    parameters: {
      flags: {
        nonce: {
          kind: "parsed",
          parse: word,
          brief: "The verifier's nonce, 16 to 64 bytes in hex (trust attest nonce)",
          placeholder: "HEX",
        },
        output: {
          kind: "parsed",
          parse: word,
          brief: "Where the document goes (default: standard output)",
          placeholder: "FILE",
          optional: true,
        },
        json: jsonFlag,
      },
    },
    async func(flags) {
      const { stdout } = this.terminal;
      const text = jsonText(await attestation(flags.nonce));
      if (flags.output === undefined) return stdout.write(text);
      const { writeFileAtomic } = await import("../../system/atomic-file.ts");
      await writeFileAtomic(flags.output, text);
      stdout.write(
        flags.json
          ? jsonText({ output: flags.output })
          : `Written to ${flags.output}.\n\nNext, on the verifier's machine: trust attest verify ${flags.output} --nonce ${flags.nonce} --ca SUDI_CA.pem\n`,
      );
    },
  }),
  [
    ["mosctl attest --nonce 6c6f…  > device.json", "the document on standard output"],
    ["mosctl attest --nonce 6c6f… --output /run/device.json", "to a file"],
  ],
);
