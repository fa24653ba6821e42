// Distinguished names (RFC 5280 section 4.1.2.4) as text for people. Chains compare names by their bytes;
// this text is only shown, and the common name read for what it says, so what could deceive an eye is refused.
import { type DerElement, DerFields, tags } from "./der.ts";
import { derOid } from "./der-values.ts";

const labels: Readonly<Record<string, string>> = {
  "2.5.4.3": "CN",
  "2.5.4.5": "serialNumber",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.10": "O",
  "2.5.4.11": "OU",
};

/** Control and format characters (bidirectional marks among them) and the line separators. */
const deceptive = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

export interface DistinguishedName {
  /** For example `O=Example, CN=Manifest rootCA`. */
  readonly text: string;
  readonly commonName: string | undefined;
  /** The attribute serialNumber (2.5.4.5), which names a device. */
  readonly serialNumber: string | undefined;
  /** The encoding, which is what names are compared by. */
  readonly raw: Uint8Array;
}

function textOf(value: DerElement): string {
  if (value.tag === tags.utf8String) {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(value.content);
  }
  const text = Buffer.from(value.content).toString("latin1");
  const isAscii = value.tag === tags.printableString || value.tag === tags.ia5String;
  if (!isAscii) return `#${Buffer.from(value.raw).toString("hex")}`; // as RFC 4514 section 2.4 writes them
  if (!/^[\x20-\x7e]*$/.test(text))
    throw new SyntaxError("a name has characters that its type does not allow");
  return text;
}

/**
 * Reads a Name.
 * @throws SyntaxError (TypeError for broken UTF-8) when it is malformed, has characters that cannot be seen,
 * or has two common names or serial numbers
 */
export function readName(element: DerElement): DistinguishedName {
  const parts: string[] = [];
  const commonNames: string[] = [];
  const serialNumbers: string[] = [];
  const names = new DerFields(element, tags.sequence, "a name");
  for (let set = names.any(); set !== undefined; set = names.any()) {
    const members = new DerFields(set, tags.set, "a relative name");
    for (let pair = members.any(); pair !== undefined; pair = members.any()) {
      const fields = new DerFields(pair, tags.sequence, "an attribute of a name");
      const oid = derOid(fields.take(tags.oid, "type"));
      const value = fields.any();
      fields.end();
      if (value === undefined) throw new SyntaxError("an attribute of a name has no value");
      const text = textOf(value);
      if (deceptive.test(text)) throw new SyntaxError("a name has characters that cannot be seen");
      parts.push(`${labels[oid] ?? oid}=${text}`);
      if (labels[oid] === "CN") commonNames.push(text);
      if (labels[oid] === "serialNumber") serialNumbers.push(text);
    }
  }
  if (commonNames.length > 1) throw new SyntaxError("a name has two common names");
  if (serialNumbers.length > 1) throw new SyntaxError("a name has two serial numbers");
  return {
    text: parts.join(", "),
    commonName: commonNames[0],
    serialNumber: serialNumbers[0],
    raw: element.raw,
  };
}
