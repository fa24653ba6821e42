// How many commands a piece of work sends to the TPM.
import { Tpm } from "../../src/tpm/tpm.ts";

export async function countTpmCommands(work: () => Promise<unknown>): Promise<number> {
  let sent = 0;
  const execute = Tpm.prototype.execute;
  Tpm.prototype.execute = async function (this: Tpm, ...args) {
    const before = this.commandCount;
    try {
      return await execute.apply(this, args);
    } finally {
      sent += this.commandCount - before;
    }
  } as typeof execute;
  try {
    await work();
  } finally {
    Tpm.prototype.execute = execute;
  }
  return sent;
}
