// What PCR 7 will be (TCG PC Client Platform Firmware Profile section 3.3.4.8): the state of Secure Boot, the key
// databases, and every key that vouched for something that ran. It says who may boot here, not what boots: every
// program of the same signer gives the same value.

import { foldPcr } from "./bank.ts";
import { encodeGuid, type Guid, guids, parseGuid } from "./guid.ts";
import { encodeVariableData, separatorDigest, sha256, type VariableEvent } from "./measured.ts";
import { encodeSignatureLists, listOf, signatureTypes } from "./signature-list.ts";
import { variables } from "./variable.ts";

/** A certificate as firmware keeps it: DER, and who put it there. */
export interface OwnedCertificate {
  readonly owner: Guid;
  readonly der: Uint8Array;
}

/** What the key databases hold, in the order in which the firmware has them. */
export interface KeyDatabases {
  readonly pk: readonly OwnedCertificate[];
  readonly kek: readonly OwnedCertificate[];
  readonly db: readonly OwnedCertificate[];
  /** The variable as it is; OVMF's {@link ovmfDbx} where nothing is revoked. */
  readonly dbx: Uint8Array;
}

/** What EDK2 and virt-fw-vars put into a dbx that revokes nothing: the hash of no bytes, owned by Microsoft's test key. */
export const ovmfDbx: Uint8Array = encodeSignatureLists([
  listOf(signatureTypes.sha256, {
    owner: parseGuid("a0baa8a3-041d-48a8-bc87-c36d121b5e3d"),
    data: sha256(new Uint8Array()),
  }),
]);

/** The SBAT level that shim 15.6 is built with. */
const shimSbatLevel = Buffer.from("sbat,1,2021030218\n");

/** The variable that holds these certificates: a list for each, because each has a size of its own. */
export function certificateLists(certificates: readonly OwnedCertificate[]): Uint8Array {
  return encodeSignatureLists(
    certificates.map(({ owner, der }) => listOf(signatureTypes.x509, { owner, data: der })),
  );
}

/** EFI_SIGNATURE_DATA without its list: how the key that vouched is measured (profile section 3.3.4.8, item 8). */
function authority(name: string, guid: Guid, { owner, der }: OwnedCertificate): VariableEvent {
  return { name, guid, data: Buffer.concat([encodeGuid(owner), der]) };
}

function firmwareDigests(databases: KeyDatabases): readonly Uint8Array[] {
  const events: readonly VariableEvent[] = [
    { ...variables.secureBoot, data: Uint8Array.of(1) },
    { ...variables.pk, data: certificateLists(databases.pk) },
    { ...variables.kek, data: certificateLists(databases.kek) },
    { ...variables.db, data: certificateLists(databases.db) },
    { ...variables.dbx, data: databases.dbx },
  ];
  return [...events.map((event) => sha256(encodeVariableData(event))), separatorDigest];
}

const digestOf = (event: VariableEvent): Uint8Array => sha256(encodeVariableData(event));

/** The digests that the firmware extends when it starts a program that a key of its db vouches for. */
export function directDigests(databases: KeyDatabases, signer: OwnedCertificate): readonly Uint8Array[] {
  return [...firmwareDigests(databases), digestOf(authority(variables.db.name, variables.db.guid, signer))];
}

/**
 * The digests on the way over shim 15.6, in the order of their events: the firmware starts shim, which measures
 * its revocation level and the list that it trusts, and then the key of its own database that vouches for the image.
 */
export function shimDigests(
  databases: KeyDatabases,
  shimSigner: OwnedCertificate,
  signer: Uint8Array,
): readonly Uint8Array[] {
  return [
    ...directDigests(databases, shimSigner),
    digestOf({ name: "SbatLevel", guid: guids.shimLock, data: shimSbatLevel }),
    digestOf({ name: "MokListTrusted", guid: guids.shimLock, data: Uint8Array.of(1) }),
    digestOf(authority("vendor_db", guids.imageSecurity, { owner: guids.zero, der: signer })),
  ];
}

/** PCR 7, hex. */
export function pcr7Of(digests: readonly Uint8Array[]): string {
  return Buffer.from(foldPcr("sha256", digests)).toString("hex");
}
