// The keys of a keyset and what their certificates say: the published system's profiles, so that its tools and
// the firmware take ours. Pure: issue.ts makes certificates of it, keyset.ts files.

/** `rsa2048`, or `p256` for the keys that sign manifests: smaller and faster, equally accepted by mos. */
export const keyTypes = ["rsa2048", "p256"] as const;
export type KeyType = (typeof keyTypes)[number];

/** What the extensions of a certificate allow its key. */
export type Role = "ca" | "signer" | "exchange";

/** keyUsage and extendedKeyUsage of each role; a CA has neither. */
export const roles: Readonly<
  Record<Role, { isCa: boolean; digitalSignature: boolean; codeSigning: boolean }>
> = {
  ca: { isCa: true, digitalSignature: false, codeSigning: false },
  signer: { isCa: false, digitalSignature: true, codeSigning: true },
  exchange: { isCa: false, digitalSignature: true, codeSigning: false },
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

/** Name parts before the common name, in the order of their encoding. */
export type SubjectPart = { readonly O: string } | { readonly OU: string };

/** Only the manifest CA bears the organization's name. */
export function organizationOf(
  profile: Profile,
  keyset: string,
  organizations: readonly string[],
): readonly SubjectPart[] {
  if (profile.name !== manifestCa) return [];
  return [...organizations.map((name) => ({ O: name })), { OU: `Project Machine Project ${keyset}` }];
}
