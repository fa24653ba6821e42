// `mosctl recovery-key`: a key for the encrypted state that the operator keeps.
import { buildCommand } from "@stricli/core";
import { type CliContext, type JsonFlag, jsonFlag, withExamples } from "../command.ts";
import { jsonText } from "../output.ts";

export const recoveryKeyCommand = withExamples(
  buildCommand<JsonFlag, [], CliContext>({
    docs: {
      brief: "Make a key that opens this device's encrypted state without its TPM",
      fullDescription: `For a device whose image says disk.encrypt: tpm2. The TPM gives the key of the state to this system only; after a
change of the Secure Boot keys, or of the machine, it gives it to nobody. The recovery key opens the state then, on
another machine, with cryptsetup. It is printed once and stored nowhere: keep it away from the device. The one that
was made before does not open the state any more.`,
    },
    parameters: { flags: { json: jsonFlag } },
    async func(flags) {
      const { makeRecoveryKey } = await import("../../provision/recovery-key.ts");
      const made = await makeRecoveryKey();
      this.terminal.stdout.write(flags.json ? jsonText(made) : `${made.key}\n`);
    },
  }),
  [
    ["mosctl recovery-key", "print a new one; the old one is void"],
    [
      "cryptsetup open /dev/sdb4 state",
      "on another machine, with the device's disk: asks for the recovery key",
    ],
  ],
);
