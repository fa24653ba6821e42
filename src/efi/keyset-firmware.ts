// The keys of a keyset as a firmware has them, and the values of PCR 7 that follow from them.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { keysetPath } from "../trust/keyset-files.ts";
import { manifestCa } from "../trust/profiles.ts";
import { parseGuid } from "./guid.ts";
import { readCertificateFile } from "./image-file.ts";
import {
  directDigests,
  type KeyDatabases,
  type OwnedCertificate,
  ovmfDbx,
  pcr7Of,
  shimDigests,
} from "./pcr7.ts";

interface KeysetCertificate extends OwnedCertificate {
  /** Where its PEM is. */
  readonly path: string;
}

/** The certificates of a keyset that go into firmware or boot images. */
export interface FirmwareKeys {
  readonly pk: KeysetCertificate;
  readonly kek: KeysetCertificate;
  readonly db: KeysetCertificate;
  readonly ukis: Readonly<Record<Uki, KeysetCertificate>>;
  /** Owned by whom `uefi-db` is: the manifest CA has no GUID of its own. */
  readonly manifestCa: KeysetCertificate;
}

/** The roles in which a UKI may be signed, in the published order. */
const ukis = ["production", "limited", "tpm"] as const;
type Uki = (typeof ukis)[number];

async function readOwned(keyset: string, key: string, ownerOf = key): Promise<KeysetCertificate> {
  const path = join(keyset, key, "cert.pem");
  const guidPath = join(keyset, ownerOf, "guid");
  const [{ der }] = await readCertificateFile(path);
  try {
    return { path, der, owner: parseGuid((await readFile(guidPath, "utf8")).trim()) };
  } catch (error) {
    if (error instanceof MosError) throw error;
    throw new MosError(
      "file-unreadable",
      `cannot read a part of a keyset (${systemCode(error) ?? "unknown"})`,
      {
        about: guidPath,
        cause: error,
      },
    );
  }
}

/**
 * Reads the certificates and their owners.
 * @throws MosError `keyset-unknown`, `name-invalid`, `file-unreadable`, `certificate-malformed`
 */
export async function readFirmwareKeys(root: string, keyset: string): Promise<FirmwareKeys> {
  const path = await keysetPath(root, keyset);
  const [pk, kek, db, ca, production, limited, tpm] = await Promise.all([
    readOwned(path, "uefi-pk"),
    readOwned(path, "uefi-kek"),
    readOwned(path, "uefi-db"),
    readOwned(path, manifestCa, "uefi-db"),
    readOwned(path, "uki-production"),
    readOwned(path, "uki-limited"),
    readOwned(path, "uki-tpm"),
  ]);
  return { pk, kek, db, manifestCa: ca, ukis: { production, limited, tpm } };
}

/** What goes into db so that the firmware starts UKIs itself, and devices find the manifest CA there. */
export function directDb(keys: FirmwareKeys, withManifestCa: boolean): readonly KeysetCertificate[] {
  return [keys.db, keys.ukis.production, ...(withManifestCa ? [keys.manifestCa] : [])];
}

function databases(keys: FirmwareKeys, db: readonly OwnedCertificate[]): KeyDatabases {
  return { pk: [keys.pk], kek: [keys.kek], db, dbx: ovmfDbx };
}

/** PCR 7 (hex) under OVMF and the published shim, for a UKI of each role. */
export function shimPcr7(keys: FirmwareKeys): Readonly<Record<Uki, string>> {
  const value = (uki: Uki): string =>
    pcr7Of(shimDigests(databases(keys, [keys.db]), keys.db, keys.ukis[uki].der));
  return { production: value("production"), limited: value("limited"), tpm: value("tpm") };
}

/** PCR 7 (hex) under OVMF with the variables of `trust efivars`, for a production UKI that it starts itself. */
export function directPcr7(keys: FirmwareKeys, withManifestCa: boolean): string {
  return pcr7Of(directDigests(databases(keys, directDb(keys, withManifestCa)), keys.ukis.production));
}
