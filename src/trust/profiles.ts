// The keys of a keyset and what their certificates say: the published system's profiles, so that its tools and
// the firmware take ours. Pure: issue.ts makes certificates of it, keyset.ts files.

/** `rsa2048`, or `p256` for the keys that sign manifests: smaller and faster, equally accepted by mos. */
export const keyTypes = ["rsa2048", "p256"] as const;
export type KeyType = (typeof keyTypes)[number];

/** What the extensions of a certificate allow its key. */
export type Role = "ca" | "signer" | "exchange" | "device";

interface RoleExtensions {
  readonly isCa: boolean;
  readonly keyUsage: readonly ("digitalSignature" | "keyEncipherment" | "dataEncipherment")[];
  readonly extendedKeyUsage: readonly ("codeSigning" | "serverAuth" | "clientAuth")[];
}

/** keyUsage and extendedKeyUsage of each role; a CA has neither. */
export const roles: Readonly<Record<Role, RoleExtensions>> = {
  ca: { isCa: true, keyUsage: [], extendedKeyUsage: [] },
  signer: { isCa: false, keyUsage: ["digitalSignature"], extendedKeyUsage: ["codeSigning"] },
  exchange: { isCa: false, keyUsage: ["digitalSignature"], extendedKeyUsage: [] },
  device: {
    isCa: false,
    keyUsage: ["digitalSignature", "keyEncipherment", "dataEncipherment"],
    extendedKeyUsage: ["serverAuth", "clientAuth"],
  },
};

export interface Profile {
  /** The directory in the keyset. */
  readonly name: string;
  readonly commonName: string;
  /** The name of the issuing profile; `self` for a self-signed certificate. */
  readonly issuer: string;
  readonly role: Role;
  /** Years from the moment of issue, or a fixed end. */
  readonly validity: number | Date;
  /** EFI signature lists name the owner of each key by a GUID, which is kept beside the key. */
  readonly hasGuid: boolean;
}

/** Device identities have no natural end; this is the instant that the published system writes for them. */
const endOfCentury = new Date("2099-12-31T23:00:00Z");

// biome-ignore format: a table
/** In an order in which every issuer comes before what it issues. */
export const profiles: readonly Profile[] = [
  { name: "manifest-ca",    commonName: "Manifest rootCA",    issuer: "self",    role: "ca",       validity: 25,           hasGuid: false },
  { name: "sudi-ca",        commonName: "SUDI rootCA",        issuer: "self",    role: "ca",       validity: endOfCentury, hasGuid: false },
  { name: "uefi-pk",        commonName: "UEFI PK",            issuer: "self",    role: "ca",       validity: 50,           hasGuid: true },
  { name: "uefi-kek",       commonName: "UEFI KEK",           issuer: "uefi-pk", role: "exchange", validity: 50,           hasGuid: true },
  { name: "uefi-db",        commonName: "UEFI DB",            issuer: "self",    role: "signer",   validity: 25,           hasGuid: true },
  { name: "uki-production", commonName: "UKI Production",     issuer: "self",    role: "signer",   validity: 25,           hasGuid: true },
  { name: "uki-limited",    commonName: "UKI Limited",        issuer: "self",    role: "signer",   validity: 25,           hasGuid: true },
  { name: "uki-tpm",        commonName: "UKI TPM",            issuer: "self",    role: "signer",   validity: 25,           hasGuid: true },
  { name: "tpmpol-admin",   commonName: "TPM EAPolicy Admin", issuer: "self",    role: "signer",   validity: 25,           hasGuid: false },
  { name: "tpmpol-luks",    commonName: "TPM EAPolicy LUKS",  issuer: "self",    role: "signer",   validity: 25,           hasGuid: false },
];

/** The CA under which projects sign manifests: the one profile whose type of key can be chosen. */
export const manifestCa = "manifest-ca";

/** The certificate of one project, which signs its manifests. */
export function projectProfile(uuid: string): Profile {
  return {
    name: "manifest",
    commonName: `manifest PRODUCT:${uuid}`,
    issuer: manifestCa,
    role: "signer",
    validity: 20,
    hasGuid: false,
  };
}

/** The CA that gives each device its identity (the published system's SUDI). */
export const deviceCa = "sudi-ca";

/** The certificate of one device; {@link deviceSubject} comes before its common name. */
export function deviceProfile(machine: string): Profile {
  return {
    name: "sudi",
    commonName: machine,
    issuer: deviceCa,
    role: "device",
    validity: endOfCentury,
    hasGuid: false,
  };
}

/** Attribute serialNumber (RFC 4519 section 2.31), which @peculiar/x509 knows by its OID only. */
const serialNumberOid = "2.5.4.5";

/** Product and machine, as the published system writes them (productOfDevice reads them). */
export function deviceSubject(product: string, machine: string): readonly SubjectPart[] {
  return [{ [serialNumberOid]: `PID:${product} SN:${machine}` }];
}

/** Name parts before the common name, in the order of their encoding. */
export type SubjectPart =
  | { readonly O: string }
  | { readonly OU: string }
  | { readonly [serialNumberOid]: string };

/** Only the manifest CA bears the organization's name. */
export function organizationOf(
  profile: Profile,
  keyset: string,
  organizations: readonly string[],
): readonly SubjectPart[] {
  if (profile.name !== manifestCa) return [];
  return [...organizations.map((name) => ({ O: name })), { OU: `Project Machine Project ${keyset}` }];
}
