// Trust anchors: whom a device believes, from the named sources of its policy and in their order. A source that is
// not there is passed over; one that is there and cannot be used stops everything, because an anchor is never
// guessed.
import { asMosError, MosError } from "../errors/mos-error.ts";
import { type Certificate, readCertificate, readCertificates } from "./certificate.ts";
import type { Anchor } from "./chain.ts";
import { maxPemSize } from "./pem.ts";
import type { AnchorSource } from "./policy.ts";
import { readTrusted } from "./trusted-file.ts";

/** A CA that is known by its key only; its certificate comes with the manifest. */
interface KeyPin {
  /** SHA-256 of the CA's SubjectPublicKeyInfo, hex. */
  readonly keyId: string;
  readonly source: string;
}

export interface AnchorSet {
  readonly certificates: readonly Anchor[];
  readonly pins: readonly KeyPin[];
}

/** What the sources in firmware hold, as far as it could be read. Undefined when there is no such thing. */
export interface FirmwareAnchors {
  /**
   * DER certificates of `db`.
   * @throws MosError `anchor-unverified` when Secure Boot does not protect them
   */
  efiDb(): Promise<readonly Uint8Array[] | undefined>;
  /**
   * Content of an NV index.
   * @throws MosError `anchor-invalid` when anybody could have written it
   */
  tpmNv(index: number): Promise<Uint8Array | undefined>;
}

interface AnchorPlaces {
  /** Directory with the files of the initrd. */
  readonly initrd: string;
  readonly firmware: FirmwareAnchors;
}

/** Bytes of an NV index that holds the SHA-256 of a public key instead of a certificate. */
const pinLength = 32;

/** What is wrong with a certificate is wrong with the anchor; a TPM that does not answer is what it is. */
function unusable(error: unknown, source: AnchorSource): MosError {
  const known = asMosError(error);
  if (/^(anchor|tpm|efi)-/.test(known.code)) return known;
  return new MosError("anchor-invalid", `cannot use a trust anchor: ${known.message}`, {
    about: source,
    cause: error,
  });
}

function onlyCas(certificates: readonly Certificate[], source: AnchorSource): readonly Anchor[] {
  const leaf = certificates.find((certificate) => !certificate.permissions.isCa);
  if (leaf !== undefined) {
    throw new MosError("anchor-invalid", `cannot use ${leaf.subject.text} as a trust anchor: it is no CA`, {
      about: source,
    });
  }
  return certificates.map((certificate) => ({ certificate, source }));
}

const none: AnchorSet = { certificates: [], pins: [] };

async function fromFile(path: string, source: AnchorSource): Promise<AnchorSet> {
  const file = await readTrusted(path, maxPemSize, "anchor-invalid");
  if (file === undefined) return none;
  return { certificates: onlyCas(readCertificates(file.bytes), source), pins: [] };
}

/** `db` also holds certificates that sign programs and are no CA; those vouch for no manifest. */
async function fromEfi(firmware: FirmwareAnchors, source: AnchorSource): Promise<AnchorSet> {
  const certificates: Anchor[] = [];
  for (const der of (await firmware.efiDb()) ?? []) {
    const certificate = readOther(der);
    if (certificate?.permissions.isCa === true) certificates.push({ certificate, source });
  }
  return { certificates, pins: [] };
}

/** Whatever else a vendor put into `db`, in algorithms that mos does not take, is not an anchor and no obstacle. */
function readOther(der: Uint8Array): Certificate | undefined {
  try {
    return readCertificate(der);
  } catch (error) {
    if (error instanceof MosError) return undefined;
    throw error;
  }
}

async function fromTpm(firmware: FirmwareAnchors, source: AnchorSource): Promise<AnchorSet> {
  const content = await firmware.tpmNv(Number(source.slice("tpm-nv:".length)));
  if (content === undefined) return none;
  if (content.length === pinLength) {
    return { certificates: [], pins: [{ keyId: Buffer.from(content).toString("hex"), source }] };
  }
  const isPem = Buffer.from(content.subarray(0, 5)).toString("latin1") === "-----";
  return {
    certificates: onlyCas(isPem ? readCertificates(content) : [readCertificate(content)], source),
    pins: [],
  };
}

async function load(source: AnchorSource, { initrd, firmware }: AnchorPlaces): Promise<AnchorSet> {
  try {
    if (source === "initrd") return await fromFile(`${initrd}/manifestCA.pem`, source);
    if (source === "efi-db") return await fromEfi(firmware, source);
    if (source.startsWith("tpm-nv:")) return await fromTpm(firmware, source);
    return await fromFile(source.slice("file:".length), source);
  } catch (error) {
    throw unusable(error, source);
  }
}

/**
 * Loads the anchors of every source that is there, in order; a certificate that two sources have counts for the
 * first. At least one.
 * @throws MosError `anchor-missing`, `anchor-invalid`, `anchor-unverified`
 */
export async function loadAnchors(
  sources: readonly AnchorSource[],
  places: AnchorPlaces,
): Promise<AnchorSet> {
  const certificates = new Map<string, Anchor>();
  const pins: KeyPin[] = [];
  for (const source of sources) {
    const found = await load(source, places);
    pins.push(...found.pins);
    for (const anchor of found.certificates) {
      const { fingerprint } = anchor.certificate;
      if (!certificates.has(fingerprint)) certificates.set(fingerprint, anchor);
    }
  }
  if (certificates.size === 0 && pins.length === 0) {
    throw new MosError("anchor-missing", "cannot verify anything: no trust anchor was found", {
      about: sources.join(", "),
    });
  }
  return { certificates: [...certificates.values()], pins };
}
