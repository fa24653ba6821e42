// `mosctl install-disk`: what an installer's medium does by itself.
import { buildCommand } from "@stricli/core";
import type { Installed } from "../../install/install.ts";
import { type CliContext, type JsonFlag, jsonFlag } from "../command.ts";
import { jsonText } from "../output.ts";

function text({ disk, identity }: Installed): string {
  const lines = [
    ...(identity === undefined
      ? []
      : [`The TPM is provisioned: ${identity.subject}, SHA-256 ${identity.fingerprint}.`]),
    `Installed on ${disk}.`,
  ];
  return `${lines.join("\n")}\n`;
}

export const installDisk = buildCommand<JsonFlag, [], CliContext>({
  docs: {
    brief: "Install the system that was started from an installer onto a disk",
    fullDescription: `Copies the installer's verified root and the boot partition of the new system onto a disk and makes a file system
for state in the rest of it. Which disk, and whether one that is not empty may be written over, is on the signed
command line; without that a disk with anything on it is refused. When the command line says so, the machine's TPM is
provisioned, too. mos-install.service runs it at the start of an
installer that mosb image build made, and then restarts the machine.`,
  },
  parameters: { flags: { json: jsonFlag } },
  async func(flags) {
    const { stdout, stderr } = this.terminal;
    const { install } = await import("../../install/install.ts");
    const installed = await install((what) => stderr.write(`mos: ${what}\n`));
    stdout.write(flags.json ? jsonText(installed) : text(installed));
  },
});
