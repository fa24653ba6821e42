// Releases that change whom a device trusts: new anchors in place of the old ones, and revoked keys. Accepted ones
// form a record that is walked anew at each start, from the policy's anchors to those of today. Pure.
import { createHash } from "node:crypto";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { type Certificate, readCertificate } from "./certificate.ts";
import type { ValidityTime } from "./chain.ts";
import {
  type AcceptedPair,
  type SignaturePair,
  type TrustRoot,
  verifyManifest,
} from "./manifest-signature.ts";

/** What a release says about trust. */
export interface TrustChange {
  readonly serial: number;
  /** DER of CA certificates, base64: these and no others are anchors from now on. */
  readonly anchors?: readonly string[] | undefined;
  /** SHA-256 (hex) of certificates and public keys. */
  readonly revoked?: readonly string[] | undefined;
}

/** A release that was accepted and changes trust, as it was received. */
export interface TrustRecord {
  readonly manifest: Uint8Array;
  readonly signatures: readonly SignaturePair[];
  readonly change: TrustChange;
}

export function changesTrust(change: TrustChange | undefined): change is TrustChange {
  return change !== undefined && (change.anchors !== undefined || change.revoked !== undefined);
}

function readNewAnchor(base64: string): Certificate {
  const certificate = readCertificate(Buffer.from(base64, "base64"));
  if (certificate.permissions.isCa) return certificate;
  throw new MosError("handover-refused", `cannot hand over to ${certificate.subject.text}: it is no CA`, {
    about: certificate.subject.text,
  });
}

function rootAfter(root: TrustRoot, { anchors, revoked, serial }: TrustChange): TrustRoot {
  return {
    ...(anchors === undefined
      ? { certificates: root.certificates, pins: root.pins }
      : {
          certificates: anchors.map((text) => ({
            certificate: readNewAnchor(text),
            source: `release ${serial}`,
          })),
          pins: [],
        }),
    revoked: new Set([...root.revoked, ...(revoked ?? [])]),
    threshold: root.threshold,
  };
}

/**
 * The root after a release, and who signed it under that root. The release has to hold under it too: whoever takes
 * over shows that they have their keys, and nobody revokes what the device needs to start again.
 * @param time as for the release itself
 * @throws MosError `handover-refused`
 */
export function handOver(
  root: TrustRoot,
  { manifest, signatures, change }: TrustRecord,
  time: ValidityTime,
): { readonly root: TrustRoot; readonly accepted: readonly [AcceptedPair, ...AcceptedPair[]] } {
  try {
    const after = rootAfter(root, change);
    return { root: after, accepted: verifyManifest(manifest, signatures, after, time) };
  } catch (error) {
    const { code, message, problems } = asMosError(error);
    if (code === "handover-refused") throw error;
    throw new MosError(
      "handover-refused",
      `cannot hand over to the trust of release ${change.serial}, because it would not accept that release itself: ${message}`,
      { about: `release ${change.serial}`, problems, cause: error },
    );
  }
}

/**
 * Walks the record from the policy's root to the one of today. Each entry is verified under the root before it.
 * @throws MosError what verifying an entry throws
 */
export function walkRecord(root: TrustRoot, record: readonly TrustRecord[]): TrustRoot {
  let current = root;
  for (const entry of record) {
    verifyManifest(entry.manifest, entry.signatures, current, { kind: "ignore" });
    current = handOver(current, entry, { kind: "ignore" }).root;
  }
  return current;
}

/**
 * What a TPM remembers of a record: the digests of its manifests, folded as TPM2_NV_Extend does
 * (TPM 2.0 Part 3, section 31.8: new := H(old || data), from zeros).
 */
export function foldRecord(manifests: readonly Uint8Array[]): Uint8Array {
  let value: Uint8Array = new Uint8Array(32);
  for (const manifest of manifests) {
    const entry = createHash("sha256").update(manifest).digest();
    value = createHash("sha256").update(value).update(entry).digest();
  }
  return value;
}
