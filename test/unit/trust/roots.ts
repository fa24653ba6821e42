// Trust roots for tests: the anchors of files, and nothing revoked, unless told.
import { type AnchorSet, type FirmwareAnchors, loadAnchors } from "../../../src/trust/anchors.ts";
import type { TrustRoot } from "../../../src/trust/manifest-signature.ts";
import type { AnchorSource } from "../../../src/trust/policy.ts";
import { anchor, type Issued } from "./authority.ts";

/** A machine with neither EFI nor a TPM. */
export const noFirmware: FirmwareAnchors = { efiDb: async () => undefined, tpmNv: async () => undefined };

function rootWith(anchors: Partial<AnchorSet>, change: Partial<TrustRoot> = {}): TrustRoot {
  return { certificates: [], pins: [], revoked: new Set(), threshold: 1, ...anchors, ...change };
}

/** The root of somebody who trusts these CAs. */
export function rootOf(cas: readonly Issued[], change: Partial<TrustRoot> = {}): TrustRoot {
  return rootWith({ certificates: cas.map(anchor) }, change);
}

/** The anchors of sources on a machine without firmware. */
export function anchorsOf(...sources: readonly AnchorSource[]): Promise<AnchorSet> {
  return loadAnchors(sources, { initrd: "/nonexistent", firmware: noFirmware });
}

/** The root of somebody who trusts the CAs in a file. */
export async function rootOfFile(path: string): Promise<TrustRoot> {
  return rootWith(await anchorsOf(`file:${path}`));
}
