// The X.509 extensions that decide what a certificate may be used for (RFC 5280 section 4.2.1). A critical one
// that mos does not apply, and name constraints in any case, make the certificate unusable here.
import { MosError } from "../errors/mos-error.ts";
import { type DerElement, DerFields, readDer, tags } from "./der.ts";
import { derBitString, derBoolean, derInteger, derOctetString, derOid } from "./der-values.ts";

/** What the extensions of one certificate allow. */
export interface Permissions {
  readonly isCa: boolean;
  /** How many CA certificates may stand between this one and the leaf; undefined: any number. */
  readonly pathLength: number | undefined;
  /** Undefined when the extension is absent, which restricts nothing. */
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** OIDs of purposes; undefined when the extension is absent. */
  readonly extendedKeyUsage: readonly string[] | undefined;
}

/** In the order of the bits of RFC 5280 section 4.2.1.3. */
const keyUsageBits = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
type KeyUsage = (typeof keyUsageBits)[number];

/** id-kp-codeSigning (RFC 5280 section 4.2.1.12). */
export const codeSigning = "1.3.6.1.5.5.7.3.3";

const oids = {
  keyUsage: "2.5.29.15",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  extendedKeyUsage: "2.5.29.37",
} as const;

const maxExtensions = 64;

function readBasicConstraints(value: Uint8Array): Pick<Permissions, "isCa" | "pathLength"> {
  const fields = new DerFields(readDer(value), tags.sequence, "basicConstraints");
  const ca = fields.optional(tags.boolean);
  const limit = fields.optional(tags.integer);
  fields.end();
  const isCa = ca !== undefined && derBoolean(ca);
  if (limit === undefined) return { isCa, pathLength: undefined };
  const pathLength = derInteger(limit);
  if (!isCa || pathLength < 0n || pathLength > 255n) throw new SyntaxError("basicConstraints makes no sense");
  return { isCa, pathLength: Number(pathLength) };
}

function readKeyUsage(value: Uint8Array): ReadonlySet<KeyUsage> {
  const { bytes } = derBitString(readDer(value));
  return new Set(keyUsageBits.filter((_, bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0));
}

function readExtendedKeyUsage(value: Uint8Array): readonly string[] {
  const fields = new DerFields(readDer(value), tags.sequence, "extendedKeyUsage");
  const purposes: string[] = [];
  for (let purpose = fields.any(); purpose !== undefined; purpose = fields.any())
    purposes.push(derOid(purpose));
  if (purposes.length === 0) throw new SyntaxError("extendedKeyUsage is empty");
  return purposes;
}

/** Values by OID; duplicates (forbidden by RFC 5280 section 4.2) and what cannot be applied are refused. */
function collect(element: DerElement): ReadonlyMap<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  const list = new DerFields(element, tags.sequence, "the list of extensions");
  for (let item = list.any(); item !== undefined; item = list.any()) {
    const fields = new DerFields(item, tags.sequence, "an extension");
    const oid = derOid(fields.take(tags.oid, "identifier"));
    // DEFAULT FALSE; the forbidden explicit FALSE of some older CAs has no second reading and is let pass.
    const flag = fields.optional(tags.boolean);
    const critical = flag !== undefined && derBoolean(flag);
    const value = derOctetString(fields.take(tags.octetString, "value"));
    fields.end();
    if (values.has(oid)) throw new SyntaxError(`the extension ${oid} is there twice`);
    values.set(oid, value);
    if (values.size > maxExtensions) throw new SyntaxError(`more than ${maxExtensions} extensions`);
    const applied = oid === oids.keyUsage || oid === oids.basicConstraints || oid === oids.extendedKeyUsage;
    if (oid === oids.nameConstraints || (critical && !applied)) {
      const name = oid === oids.nameConstraints ? "nameConstraints" : `the critical extension ${oid}`;
      throw new MosError(
        "chain-constraint",
        `cannot accept a certificate: it has ${name}, which mos does not apply`,
      );
    }
  }
  if (values.size === 0) throw new SyntaxError("the list of extensions is empty");
  return values;
}

/**
 * What the extensions allow; no list at all allows no issuing and restricts nothing else.
 * @throws MosError `chain-constraint`; SyntaxError when malformed or duplicate
 */
export function readExtensions(element: DerElement | undefined): Permissions {
  const values = element === undefined ? new Map<string, Uint8Array>() : collect(element);
  const basicConstraints = values.get(oids.basicConstraints);
  const keyUsage = values.get(oids.keyUsage);
  const extendedKeyUsage = values.get(oids.extendedKeyUsage);
  return {
    ...(basicConstraints === undefined
      ? { isCa: false, pathLength: undefined }
      : readBasicConstraints(basicConstraints)),
    keyUsage: keyUsage === undefined ? undefined : readKeyUsage(keyUsage),
    extendedKeyUsage: extendedKeyUsage === undefined ? undefined : readExtendedKeyUsage(extendedKeyUsage),
  };
}
