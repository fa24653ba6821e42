// Public areas of objects: TPMT_PUBLIC and what it is made of (Part 2, sections 11.1 to 12.2), one encoder and one
// decoder each.
import { decodeAll, encode, type Reader, type Writer } from "./buffer.ts";
import { algorithms, curves } from "./constants.ts";
import { type HashName, hashOfNumber } from "./hashes.ts";

/** TPMT_SYM_DEF_OBJECT, table 134: how a storage key protects its children. */
interface Symmetric {
  readonly algorithm: "aes";
  readonly bits: number;
  readonly mode: number;
}

const schemeNumbers = {
  rsassa: algorithms.rsassa,
  rsapss: algorithms.rsapss,
  oaep: algorithms.oaep,
  ecdsa: algorithms.ecdsa,
  ecdh: algorithms.ecdh,
} as const;

/** TPMT_RSA_SCHEME and TPMT_ECC_SCHEME (tables 158, 167), as far as they consist of a hash. */
export interface Scheme {
  readonly scheme: keyof typeof schemeNumbers;
  readonly hash: HashName;
}

interface Common {
  readonly nameHash: HashName;
  /** TPMA_OBJECT. */
  readonly attributes: number;
  /** Empty, or a digest of `nameHash`. */
  readonly authPolicy: Uint8Array;
}

export interface RsaPublic extends Common {
  readonly type: "rsa";
  readonly symmetric: Symmetric | undefined;
  readonly scheme: Scheme | undefined;
  readonly bits: number;
  /** As it is in the structure, where 0 means 65537. It matters for the Name. */
  readonly exponent: number;
  /** Empty in a template. */
  readonly modulus: Uint8Array;
}

export interface EccPublic extends Common {
  readonly type: "ecc";
  readonly symmetric: Symmetric | undefined;
  readonly scheme: Scheme | undefined;
  readonly curve: keyof typeof curves;
  /** Coordinates, big endian; empty in a template. */
  readonly x: Uint8Array;
  readonly y: Uint8Array;
}

/** Sealed data. */
export interface KeyedHashPublic extends Common {
  readonly type: "keyedHash";
  readonly unique: Uint8Array;
}

export type Public = RsaPublic | EccPublic | KeyedHashPublic;

/** The largest that anything in a public area is: an RSA modulus of 4096 bits. */
const maxUnique = 512;
const maxCoordinate = 66;
const maxDigest = 64;

function writeSymmetric(writer: Writer, symmetric: Symmetric | undefined): void {
  if (symmetric === undefined) writer.u16(algorithms.null);
  else writer.u16(algorithms.aes).u16(symmetric.bits).u16(symmetric.mode);
}

function readSymmetric(reader: Reader): Symmetric | undefined {
  const algorithm = reader.u16();
  if (algorithm === algorithms.null) return undefined;
  if (algorithm !== algorithms.aes) throw new SyntaxError(`unknown cipher 0x${algorithm.toString(16)}`);
  return { algorithm: "aes", bits: reader.u16(), mode: reader.u16() };
}

function writeScheme(writer: Writer, scheme: Scheme | undefined): void {
  if (scheme === undefined) writer.u16(algorithms.null);
  else writer.u16(schemeNumbers[scheme.scheme]).u16(algorithms[scheme.hash]);
}

function readScheme(reader: Reader): Scheme | undefined {
  const number = reader.u16();
  switch (number) {
    case algorithms.null:
      return undefined;
    case algorithms.rsassa:
      return { scheme: "rsassa", hash: hashOfNumber(reader.u16()) };
    case algorithms.rsapss:
      return { scheme: "rsapss", hash: hashOfNumber(reader.u16()) };
    case algorithms.oaep:
      return { scheme: "oaep", hash: hashOfNumber(reader.u16()) };
    case algorithms.ecdsa:
      return { scheme: "ecdsa", hash: hashOfNumber(reader.u16()) };
    case algorithms.ecdh:
      return { scheme: "ecdh", hash: hashOfNumber(reader.u16()) };
    default:
      throw new SyntaxError(`unknown scheme 0x${number.toString(16)}`);
  }
}

function readCurve(reader: Reader): keyof typeof curves {
  const number = reader.u16();
  switch (number) {
    case curves.p256:
      return "p256";
    case curves.p384:
      return "p384";
    case curves.p521:
      return "p521";
    default:
      throw new SyntaxError(`unknown curve 0x${number.toString(16)}`);
  }
}

function readNull(reader: Reader, what: string): void {
  const number = reader.u16();
  if (number !== algorithms.null) throw new SyntaxError(`${what} 0x${number.toString(16)} is not supported`);
}

/** Appends a TPMT_PUBLIC (table 184). */
export function writePublic(writer: Writer, value: Public): void {
  writer.u16(algorithms[value.type]).u16(algorithms[value.nameHash]).u32(value.attributes);
  writer.sized(value.authPolicy);
  switch (value.type) {
    case "rsa":
      writeSymmetric(writer, value.symmetric);
      writeScheme(writer, value.scheme);
      writer.u16(value.bits).u32(value.exponent).sized(value.modulus);
      break;
    case "ecc":
      writeSymmetric(writer, value.symmetric);
      writeScheme(writer, value.scheme);
      // The key derivation scheme: none.
      writer.u16(curves[value.curve]).u16(algorithms.null).sized(value.x).sized(value.y);
      break;
    case "keyedHash":
      writer.u16(algorithms.null).sized(value.unique);
      break;
  }
}

/** Reads a TPMT_PUBLIC. @throws SyntaxError also for kinds of objects that mos has no use for */
export function readPublic(reader: Reader): Public {
  const type = reader.u16();
  const common = {
    nameHash: hashOfNumber(reader.u16()),
    attributes: reader.u32(),
    authPolicy: reader.sized(maxDigest),
  };
  switch (type) {
    case algorithms.rsa:
      return {
        type: "rsa",
        ...common,
        symmetric: readSymmetric(reader),
        scheme: readScheme(reader),
        bits: reader.u16(),
        exponent: reader.u32(),
        modulus: reader.sized(maxUnique),
      };
    case algorithms.ecc: {
      const symmetric = readSymmetric(reader);
      const scheme = readScheme(reader);
      const curve = readCurve(reader);
      readNull(reader, "the key derivation scheme");
      const x = reader.sized(maxCoordinate);
      return { type: "ecc", ...common, symmetric, scheme, curve, x, y: reader.sized(maxCoordinate) };
    }
    case algorithms.keyedHash:
      readNull(reader, "the scheme of a keyed hash");
      return { type: "keyedHash", ...common, unique: reader.sized(maxUnique) };
    default:
      throw new SyntaxError(`unknown type of object 0x${type.toString(16)}`);
  }
}

/** The bytes of a TPM2B_PUBLIC, which is what files of tpm2-tools hold. */
export function encodeSizedPublic(value: Public): Uint8Array {
  return encode((writer) => writer.sizedBy(() => writePublic(writer, value)));
}

/** Reads the bytes of a TPM2B_PUBLIC. @throws SyntaxError */
export function decodeSizedPublic(bytes: Uint8Array): Public {
  return decodeAll(bytes, (reader) => reader.sizedBy(readPublic));
}
