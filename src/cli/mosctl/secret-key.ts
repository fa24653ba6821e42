// `mosctl secret-key`: the key that secrets for this device are encrypted to.
import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { buildCommand } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";
import { type TpmFlag, tpmFlag } from "../tpm-flags.ts";

/** The machine that the device's certificate names, else its host name. */
async function machineName(certificatePaths: readonly string[]): Promise<string> {
  const { readCertificates } = await import("../../trust/certificate.ts");
  const { machineOfDevice } = await import("../../trust/product.ts");
  for (const path of certificatePaths) {
    const pem = await readFile(path).catch(() => undefined);
    const machine =
      pem === undefined ? undefined : machineOfDevice(readCertificates(pem)[0].subject.serialNumber);
    if (machine !== undefined) return machine;
  }
  return hostname();
}

export const secretKeyCommand = withExamples(
  buildCommand<JsonFlag & TpmFlag, [], CliContext>({
    docs: {
      brief: "Print the public key that secrets for this device are encrypted to",
      fullDescription:
        "The private key was made in the device's TPM by trust provision and never leaves it. What is printed is not secret; give it to whoever publishes for this device, on a way on which nobody can exchange it.",
    },
    parameters: { flags: { tpm: tpmFlag, json: jsonFlag } },
    async func(flags) {
      const [{ deviceContext }, { readDeviceKey }, { recipientPem }] = await Promise.all([
        import("../../agent/context.ts"),
        import("../../secrets/device-key.ts"),
        import("../../secrets/recipient.ts"),
      ]);
      const { trust } = deviceContext();
      const { point, id } = await readDeviceKey(flags.tpm ?? trust.tpm);
      const machine = await machineName(trust.deviceCertificates);
      const pem = recipientPem(point);
      this.terminal.stdout.write(flags.json ? jsonText({ machine, key: id, pem }) : pem);
    },
  }),
  [
    ["mosctl secret-key > machine-1.pem", "for mosb secret encrypt --to machine-1.pem"],
    ["mosctl secret-key --json | jq -r .machine,.key", "whose key it is, and how manifests name it"],
  ],
);
