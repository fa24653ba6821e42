// Quotes: the TPM signs what its PCRs hold, for somebody who asked with a nonce.
import { createHash, type KeyObject } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { type QuoteStatement, readQuoteStatement } from "./attest.ts";
import { decodeAll, encode } from "./buffer.ts";
import type { Command } from "./command.ts";
import { algorithms } from "./constants.ts";
import type { TpmObject } from "./keys.ts";
import { digestOfPcrs, type PcrSelection, type PcrValues, writePcrSelections } from "./pcr-selection.ts";
import type { Authorization } from "./session.ts";
import { encodeSignature, readSignature, verifySignature } from "./signature.ts";
import type { Tpm } from "./tpm.ts";

export interface Quote {
  /** TPMS_ATTEST: what was signed. */
  readonly statement: Uint8Array;
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array;
}

/** Longer nonces are hashed by both sides: TPM2B_DATA holds what a TPMT_HA has at most, 2 + 64 bytes. */
function qualifyingData(nonce: Uint8Array): Uint8Array {
  return nonce.length <= 32 ? nonce : createHash("sha256").update(nonce).digest();
}

/**
 * Quote, with a key whose template names the scheme.
 * @param nonce of who asks; any length
 * @throws TpmError
 */
export async function quote(
  tpm: Tpm,
  key: TpmObject,
  authorization: Authorization,
  selection: PcrSelection,
  nonce: Uint8Array,
): Promise<Quote> {
  const command: Command = {
    name: "TPM2_Quote",
    handles: [key],
    authorizations: [authorization],
    parameters: (writer) => {
      writer.sized(qualifyingData(nonce)).u16(algorithms.null);
      writePcrSelections(writer, [selection]);
    },
    encryptIn: true,
    encryptOut: true,
  };
  return await tpm.execute(command, (reader) => {
    const statement = reader.sized().slice();
    const signature = readSignature(reader);
    return { statement, signature: encodeSignature(signature) };
  });
}

/**
 * Checks a quote, on any machine.
 * @param values of the PCRs as the quoting side reports them: afterwards they are proved
 * @returns the statement, with the TPM's clock and reset counters
 * @throws MosError `tpm-quote-invalid`, `tpm-data-invalid` when it is malformed
 */
export function verifyQuote(
  { statement, signature }: Quote,
  key: KeyObject,
  nonce: Uint8Array,
  selection: PcrSelection,
  values: PcrValues,
): QuoteStatement {
  const signed = decoded("the signature of a quote", () => decodeAll(signature, readSignature));
  if (!verifySignature(key, statement, signed)) throw invalid("it is not signed by this key");
  const said = decoded("a quote", () => decodeAll(statement, readQuoteStatement));
  if (Buffer.compare(said.extraData, qualifyingData(nonce)) !== 0) throw invalid("it answers another nonce");
  const asked = encode((writer) => writePcrSelections(writer, [selection]));
  const quoted = encode((writer) => writePcrSelections(writer, said.selections));
  if (Buffer.compare(asked, quoted) !== 0) throw invalid("it is about other PCRs");
  // The TPM hashes with the hash of the signature's scheme (Part 3, section 18.4).
  if (Buffer.compare(said.pcrDigest, digestOfPcrs(signed.hash, selection, values)) !== 0) {
    throw invalid("the PCRs had other values");
  }
  return said;
}

function invalid(why: string): MosError {
  return new MosError("tpm-quote-invalid", `cannot accept a quote: ${why}`);
}

function decoded<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError("tpm-data-invalid", `cannot read ${what}: ${error.message}`, { cause: error });
  }
}
