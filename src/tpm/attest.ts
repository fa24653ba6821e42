// Statements of the TPM about itself: TPMS_ATTEST of a quote (Part 2, section 10.12.12).
import type { Reader, Writer } from "./buffer.ts";
import { generatedValue, structureTags } from "./constants.ts";
import { type PcrSelection, readPcrSelections, writePcrSelections } from "./pcr-selection.ts";

export interface QuoteStatement {
  /** Qualified Name of the signing key. */
  readonly signer: Uint8Array;
  /** What the verifier asked for to know that the quote is fresh. */
  readonly extraData: Uint8Array;
  /** Milliseconds that the TPM has been powered. */
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** False when the clock may have gone back after a loss of power. */
  readonly clockSafe: boolean;
  readonly firmwareVersion: bigint;
  readonly selections: readonly PcrSelection[];
  readonly pcrDigest: Uint8Array;
}

/** Appends a TPMS_ATTEST. */
export function writeQuoteStatement(writer: Writer, value: QuoteStatement): void {
  writer.u32(generatedValue).u16(structureTags.attestQuote).sized(value.signer).sized(value.extraData);
  writer.u64(value.clock).u32(value.resetCount).u32(value.restartCount);
  writer.u8(value.clockSafe ? 1 : 0).u64(value.firmwareVersion);
  writePcrSelections(writer, value.selections);
  writer.sized(value.pcrDigest);
}

/** Reads a TPMS_ATTEST that is a quote. @throws SyntaxError for every other statement */
export function readQuoteStatement(reader: Reader): QuoteStatement {
  if (reader.u32() !== generatedValue) throw new SyntaxError("not a statement of a TPM");
  if (reader.u16() !== structureTags.attestQuote) throw new SyntaxError("a statement that is not a quote");
  const signer = reader.sized(66);
  const extraData = reader.sized(64);
  const clock = reader.u64();
  const resetCount = reader.u32();
  const restartCount = reader.u32();
  const safe = reader.u8();
  if (safe > 1) throw new SyntaxError(`${safe} is neither yes nor no`);
  return {
    signer,
    extraData,
    clock,
    resetCount,
    restartCount,
    clockSafe: safe === 1,
    firmwareVersion: reader.u64(),
    selections: readPcrSelections(reader),
    pcrDigest: reader.sized(64),
  };
}
