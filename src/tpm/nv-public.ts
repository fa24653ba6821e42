// NV indices: their numbers, and their public areas TPMS_NV_PUBLIC (Part 2, section 13.5).
import { MosError } from "../errors/mos-error.ts";
import type { Reader, Writer } from "./buffer.ts";
import { algorithms, handleTypes } from "./constants.ts";
import { type HashName, hashOfNumber } from "./hashes.ts";

/** The handle of an NV index, 0x01000000 to 0x01ffffff. */
export type NvIndex = number & { readonly brand: "NvIndex" };

function isNvIndex(value: number): value is NvIndex {
  return Number.isInteger(value) && value >>> 24 === handleTypes.nv && value <= 0xffffffff;
}

/** The number of an NV index. @throws MosError `usage` when it is not one */
export function nvIndex(value: number): NvIndex {
  if (!isNvIndex(value)) {
    throw new MosError("usage", `cannot use 0x${value.toString(16)} as an NV index`, {
      hint: "NV indices are 0x01000000 to 0x01ffffff.",
    });
  }
  return value;
}

/** TPMS_NV_PUBLIC, table 207. */
export interface NvPublic {
  readonly index: NvIndex;
  readonly nameHash: HashName;
  /** TPMA_NV, with the kind (TPM_NT) in bits 4 to 7. */
  readonly attributes: number;
  /** Empty, or a digest of `nameHash`. */
  readonly authPolicy: Uint8Array;
  /** Bytes. */
  readonly size: number;
}

/** Appends a TPMS_NV_PUBLIC. */
export function writeNvPublic(writer: Writer, value: NvPublic): void {
  writer.u32(value.index).u16(algorithms[value.nameHash]).u32(value.attributes);
  writer.sized(value.authPolicy).u16(value.size);
}

/** Reads a TPMS_NV_PUBLIC. @throws SyntaxError */
export function readNvPublic(reader: Reader): NvPublic {
  const index = reader.u32();
  if (!isNvIndex(index)) throw new SyntaxError(`0x${index.toString(16)} is not an NV index`);
  return {
    index,
    nameHash: hashOfNumber(reader.u16()),
    attributes: reader.u32(),
    authPolicy: reader.sized(64),
    size: reader.u16(),
  };
}
