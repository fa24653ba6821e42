// The attribute certificate table of a PE file (PE format, "The Attribute Certificate Table"): what is behind the
// image and not part of what is signed.
//
//   u32 length (of all of this entry) · u16 revision · u16 type · data · zeros to the next multiple of 8
import { FieldReader, u16le, u32le } from "./little-endian.ts";

const headSize = 8;
const revision2 = 0x0200;
/** WIN_CERT_TYPE_PKCS_SIGNED_DATA: the only type that Authenticode uses. */
const pkcsSignedData = 0x0002;
/** More signatures than anybody puts on one program. */
const maxEntries = 16;

function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/**
 * The PKCS#7 of every entry. Zeros that a signer counted as part of the data are left in it.
 * @throws SyntaxError for entries of another type, broken lengths, and anything but zeros between them
 */
export function decodeWinCertificates(table: Uint8Array): readonly Uint8Array[] {
  const reader = new FieldReader(table);
  const found: Uint8Array[] = [];
  while (reader.left > 0) {
    const length = reader.u32("an attribute certificate");
    const revision = reader.u16("an attribute certificate");
    const type = reader.u16("an attribute certificate");
    if (length <= headSize) throw new SyntaxError("an attribute certificate has an impossible length");
    if (revision !== revision2 || type !== pkcsSignedData) {
      throw new SyntaxError(`an attribute certificate is of type ${type}, and not PKCS#7`);
    }
    found.push(reader.take(length - headSize, "an attribute certificate"));
    const gap = reader.take(padded(length) - length, "an attribute certificate");
    if (gap.some((byte) => byte !== 0))
      throw new SyntaxError("there is something between attribute certificates");
    if (found.length > maxEntries) throw new SyntaxError(`more than ${maxEntries} attribute certificates`);
  }
  return found;
}

/** One entry, whose length does not count the zeros behind it. */
export function encodeWinCertificate(pkcs7: Uint8Array): Uint8Array {
  const length = headSize + pkcs7.length;
  const gap = new Uint8Array(padded(length) - length);
  return Buffer.concat([u32le(length), u16le(revision2), u16le(pkcsSignedData), pkcs7, gap]);
}
