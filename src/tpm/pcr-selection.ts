// Which PCRs are meant, and the digest over their values (TPML_PCR_SELECTION, Part 2, section 10.9.7).
import type { Reader, Writer } from "./buffer.ts";
import { algorithms } from "./constants.ts";
import { digest, digestSizes, type HashName, hashOfNumber } from "./hashes.ts";

/** PCRs of one bank, in rising order. */
export interface PcrSelection {
  readonly bank: HashName;
  readonly pcrs: readonly number[];
}

/** Values of PCRs of one bank. */
export type PcrValues = ReadonlyMap<number, Uint8Array>;

/** A PC Client TPM has 24 PCRs (PC Client Platform TPM Profile, section 4.6), so three bytes of bits. */
const selectBytes = 3;
const maxSelections = 16;

/** A selection of these PCRs, each once and in rising order. @throws RangeError for a PCR above 23 */
export function selectPcrs(bank: HashName, pcrs: Iterable<number>): PcrSelection {
  const sorted = [...new Set(pcrs)].toSorted((a, b) => a - b);
  if (sorted.some((pcr) => !Number.isInteger(pcr) || pcr < 0 || pcr >= 8 * selectBytes)) {
    throw new RangeError(`no PCR is numbered ${sorted.join(" or ")}`);
  }
  return { bank, pcrs: sorted };
}

/** Appends a TPML_PCR_SELECTION. */
export function writePcrSelections(writer: Writer, selections: readonly PcrSelection[]): void {
  writer.u32(selections.length);
  for (const { bank, pcrs } of selections) {
    const bits = new Uint8Array(selectBytes);
    for (const pcr of pcrs) bits[pcr >> 3] = (bits[pcr >> 3] ?? 0) | (1 << (pcr & 7));
    writer.u16(algorithms[bank]).u8(selectBytes).raw(bits);
  }
}

/** Reads a TPML_PCR_SELECTION. @throws SyntaxError */
export function readPcrSelections(reader: Reader): PcrSelection[] {
  return readSelections(reader).map(({ algorithm, pcrs }) => ({ bank: hashOfNumber(algorithm), pcrs }));
}

/** Reads the TPML_PCR_SELECTION that lists a TPM's banks, and leaves out those of hashes that mos does not know. */
export function readPcrBanks(reader: Reader): PcrSelection[] {
  const known: readonly number[] = [algorithms.sha1, algorithms.sha256, algorithms.sha384, algorithms.sha512];
  return readSelections(reader)
    .filter(({ algorithm }) => known.includes(algorithm))
    .map(({ algorithm, pcrs }) => ({ bank: hashOfNumber(algorithm), pcrs }));
}

function readSelections(reader: Reader): { readonly algorithm: number; readonly pcrs: number[] }[] {
  const count = reader.u32();
  if (count > maxSelections) throw new SyntaxError(`${count} selections of PCRs`);
  const selections = [];
  for (let i = 0; i < count; i++) {
    const algorithm = reader.u16();
    const bits = reader.raw(reader.u8());
    const pcrs: number[] = [];
    bits.forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) pcrs.push(8 * at + bit);
    });
    selections.push({ algorithm, pcrs });
  }
  return selections;
}

/**
 * The digest of PCR values that PolicyPCR and quotes hold: over the values in the order of the PCRs' numbers.
 * @param hash of the session or of the quote's signature, which need not be the bank's
 */
export function digestOfPcrs(hash: HashName, selection: PcrSelection, values: PcrValues): Uint8Array {
  const pieces = selection.pcrs.map((pcr) => {
    const value = values.get(pcr);
    if (value?.length !== digestSizes[selection.bank]) throw new RangeError(`no value of PCR ${pcr}`);
    return value;
  });
  return digest(hash, ...pieces);
}
