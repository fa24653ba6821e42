// Trust anchors: CA certificates from named sources, in the order of the policy. A source that is not there is
// passed over; one that is there and cannot be used stops everything, because an anchor is never guessed.
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { type Certificate, readCertificates } from "./certificate.ts";
import type { Anchor } from "./chain.ts";
import { maxPemSize } from "./pem.ts";

/** `file:PATH`: a PEM file of one or more CA certificates. */
export type AnchorSource = `file:${string}`;

/** Where a device looks: its own place, then the one where the published system puts the file from its initrd. */
export const deviceAnchorSources: readonly AnchorSource[] = [
  "file:/etc/mos/manifestCA.pem",
  "file:/factory/secure/manifestCA.pem",
];

/** The file's bytes, or undefined when there is none. Never waits on a pipe, never reads without bound. */
async function readBounded(path: string): Promise<Uint8Array | undefined> {
  try {
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await handle.stat();
    const buffer = new Uint8Array(maxPemSize + 1);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    if (size > maxPemSize || bytesRead > maxPemSize) {
      throw new MosError("anchor-invalid", `cannot use a trust anchor of more than ${maxPemSize} bytes`, {
        about: path,
      });
    }
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    if (error instanceof MosError) throw error;
    const { message } = asMosError(error);
    throw new MosError("anchor-invalid", `cannot read a trust anchor: ${message}`, {
      about: path,
      cause: error,
    });
  }
}

function readAnchors(pem: Uint8Array, source: AnchorSource): readonly Anchor[] {
  let certificates: readonly Certificate[];
  try {
    certificates = readCertificates(pem);
  } catch (error) {
    const { message } = asMosError(error);
    throw new MosError("anchor-invalid", `cannot use a trust anchor: ${message}`, {
      about: source,
      cause: error,
    });
  }
  const leaf = certificates.find((certificate) => !certificate.permissions.isCa);
  if (leaf !== undefined) {
    throw new MosError("anchor-invalid", `cannot use ${leaf.subject.text} as a trust anchor: it is no CA`, {
      about: source,
    });
  }
  return certificates.map((certificate) => ({ certificate, source }));
}

/**
 * Loads the anchors of every source that is there, in order; a certificate that two sources have counts for the
 * first. At least one.
 * @throws MosError `anchor-missing`, `anchor-invalid`
 */
export async function loadAnchors(sources: readonly AnchorSource[]): Promise<readonly Anchor[]> {
  const anchors = new Map<string, Anchor>();
  for (const source of sources) {
    const pem = await readBounded(source.slice("file:".length));
    if (pem === undefined) continue;
    for (const anchor of readAnchors(pem, source)) {
      if (!anchors.has(anchor.certificate.fingerprint)) anchors.set(anchor.certificate.fingerprint, anchor);
    }
  }
  if (anchors.size === 0) {
    throw new MosError("anchor-missing", "cannot verify anything: no trust anchor was found", {
      about: sources.join(", "),
    });
  }
  return [...anchors.values()];
}
