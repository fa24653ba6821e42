// PCRs: read, and extended.
import type { Command } from "./command.ts";
import { algorithms } from "./constants.ts";
import { digestSizes, type HashName } from "./hashes.ts";
import { permanentEntity } from "./names.ts";
import {
  type PcrSelection,
  type PcrValues,
  readPcrSelections,
  selectPcrs,
  writePcrSelections,
} from "./pcr-selection.ts";
import { emptyAuthorization } from "./session.ts";
import type { Tpm } from "./tpm.ts";

interface Answer {
  readonly counter: number;
  readonly values: [number, Uint8Array][];
}

/** One PCR_Read: the TPM answers with as many of the values as it likes, 8 at most. */
async function readSome(tpm: Tpm, wanted: PcrSelection): Promise<Answer> {
  const command: Command = {
    name: "TPM2_PCR_Read",
    parameters: (writer) => writePcrSelections(writer, [wanted]),
  };
  return await tpm.execute(command, (reader) => {
    const counter = reader.u32();
    const [given, ...others] = readPcrSelections(reader);
    const count = reader.u32();
    const pcrs = given?.bank === wanted.bank ? given.pcrs : [];
    const asked = pcrs.every((pcr) => wanted.pcrs.includes(pcr));
    if (others.length > 0 || !asked || count !== pcrs.length) {
      throw new SyntaxError("other PCRs than were asked for");
    }
    const values = pcrs.map((pcr): [number, Uint8Array] => {
      const value = reader.sized(64).slice();
      if (value.length !== digestSizes[wanted.bank]) throw new SyntaxError("a PCR of the wrong size");
      return [pcr, value];
    });
    return { counter, values };
  });
}

/**
 * The values of PCRs, all of one moment: when one is extended meanwhile, reading begins again.
 * @throws TpmError, MosError `tpm-response-malformed` when the TPM has no such bank
 */
export async function readPcrs(tpm: Tpm, bank: HashName, pcrs: Iterable<number>): Promise<PcrValues> {
  const wanted = selectPcrs(bank, pcrs).pcrs;
  let values = new Map<number, Uint8Array>();
  let counter: number | undefined;
  while (values.size < wanted.length) {
    const missing = wanted.filter((pcr) => !values.has(pcr));
    const answer = await readSome(tpm, { bank, pcrs: missing });
    if (counter !== undefined && answer.counter !== counter) values = new Map();
    else for (const [pcr, value] of answer.values) values.set(pcr, value);
    counter = answer.counter;
  }
  return values;
}

/** PCR_Extend of one bank: the PCR becomes the hash of its value and `value`, a digest of the bank's size. @throws TpmError */
export async function extendPcr(tpm: Tpm, pcr: number, bank: HashName, value: Uint8Array): Promise<void> {
  await extendPcrBanks(tpm, pcr, new Map([[bank, value]]));
}

/** PCR_Extend of several banks at once. @throws TpmError, RangeError for a digest of the wrong size */
export async function extendPcrBanks(
  tpm: Tpm,
  pcr: number,
  values: ReadonlyMap<HashName, Uint8Array>,
): Promise<void> {
  for (const [bank, value] of values) {
    if (value.length !== digestSizes[bank]) throw new RangeError(`not a ${bank} digest`);
  }
  const command: Command = {
    name: "TPM2_PCR_Extend",
    handles: [permanentEntity(pcr)],
    authorizations: [emptyAuthorization],
    parameters: (writer) => {
      writer.u32(values.size);
      for (const [bank, value] of values) writer.u16(algorithms[bank]).raw(value);
    },
  };
  await tpm.execute(command, () => undefined);
}
