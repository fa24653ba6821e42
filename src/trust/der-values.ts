// The DER primitive types that certificates and signatures use, each as the JavaScript value it stands for
// (ITU-T X.690 sections 8 and 11). All throw SyntaxError when the element is of another type or not canonical.
import { type DerElement, tags } from "./der.ts";

function contentOf(element: DerElement, tag: number, name: string): Uint8Array {
  if (element.tag !== tag) throw new SyntaxError(`expected ${name}, found tag 0x${element.tag.toString(16)}`);
  return element.content;
}

/** BOOLEAN; true is 0xff and nothing else (X.690 11.1). */
export function derBoolean(element: DerElement): boolean {
  const content = contentOf(element, tags.boolean, "BOOLEAN");
  const [value] = content;
  if (content.length !== 1 || (value !== 0 && value !== 0xff)) throw new SyntaxError("malformed BOOLEAN");
  return value === 0xff;
}

/** INTEGER in the fewest octets (X.690 8.3.2), of any size and sign. */
export function derInteger(element: DerElement): bigint {
  const content = contentOf(element, tags.integer, "INTEGER");
  const [first, second] = content;
  if (first === undefined) throw new SyntaxError("empty INTEGER");
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) {
    throw new SyntaxError("INTEGER is not minimal");
  }
  const unsigned = BigInt(`0x${Buffer.from(content).toString("hex")}`);
  return first < 0x80 ? unsigned : unsigned - (1n << BigInt(8 * content.length));
}

/** OBJECT IDENTIFIER in dotted form (X.690 8.19). */
export function derOid(element: DerElement): string {
  const content = contentOf(element, tags.oid, "OBJECT IDENTIFIER");
  if (content.length === 0 || content.length > 64) throw new SyntaxError("OBJECT IDENTIFIER of a bad length");
  const parts: bigint[] = [];
  let value = 0n;
  let fresh = true;
  for (const byte of content) {
    if (fresh && byte === 0x80) throw new SyntaxError("OBJECT IDENTIFIER is not minimal");
    value = (value << 7n) | BigInt(byte & 0x7f);
    fresh = byte < 0x80;
    if (fresh) {
      parts.push(value);
      value = 0n;
    }
  }
  if (!fresh) throw new SyntaxError("OBJECT IDENTIFIER ends early");
  const [head = 0n, ...rest] = parts;
  const first = head < 40n ? 0n : head < 80n ? 1n : 2n;
  return [first, head - first * 40n, ...rest].join(".");
}

/** BIT STRING: its octets and how many bits of the last one do not count; those are zero (X.690 11.2.1). */
export function derBitString(element: DerElement): { readonly bytes: Uint8Array; readonly unused: number } {
  const content = contentOf(element, tags.bitString, "BIT STRING");
  const [unused] = content;
  const bytes = content.subarray(1);
  if (unused === undefined || unused > 7 || (bytes.length === 0 && unused !== 0)) {
    throw new SyntaxError("malformed BIT STRING");
  }
  if (((bytes.at(-1) ?? 0) & ((1 << unused) - 1)) !== 0) throw new SyntaxError("BIT STRING has stray bits");
  return { bytes, unused };
}

/** OCTET STRING. */
export function derOctetString(element: DerElement): Uint8Array {
  return contentOf(element, tags.octetString, "OCTET STRING");
}

/**
 * UTCTime `YYMMDDHHMMSSZ` (years 1950 to 2049) or GeneralizedTime `YYYYMMDDHHMMSSZ`: the only forms that a
 * certificate may have (RFC 5280 section 4.1.2.5).
 */
export function derTime(element: DerElement): Date {
  const text = Buffer.from(element.content).toString("latin1");
  const pattern =
    element.tag === tags.utcTime
      ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
      : element.tag === tags.generalizedTime
        ? /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
        : undefined;
  const match = pattern?.exec(text);
  if (match === null || match === undefined) throw new SyntaxError("malformed time");
  const [shortOrFullYear = "", ...rest] = match.slice(1);
  const century = shortOrFullYear.length === 4 ? "" : Number(shortOrFullYear) < 50 ? "20" : "19";
  const [month, day, hour, minute, second] = rest;
  const iso = `${century}${shortOrFullYear}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const date = new Date(iso);
  // A date that does not exist (30 February, hour 24) is either NaN or comes back as another one.
  if (Number.isNaN(date.getTime()) || date.toISOString() !== iso)
    throw new SyntaxError("a time that does not exist");
  return date;
}
