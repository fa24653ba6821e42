// Certificates in PEM (RFC 7468), read strictly: certificate blocks and blank lines, nothing else, and base64
// that has one reading only. An explanatory text between blocks is refused: it is unsigned and nobody reads it.
import { MosError } from "../errors/mos-error.ts";

/** As much as any role needs; the same bound is used when a certificate is fetched (bytes). */
export const maxPemSize = 64 * 1024;

/** Leaf and intermediates, or anchors of one file. */
const maxCertificates = 8;

const begin = "-----BEGIN CERTIFICATE-----";
const end = "-----END CERTIFICATE-----";

function malformed(why: string, about?: string): MosError {
  return new MosError("certificate-malformed", `cannot read a certificate: ${why}`, {
    ...(about === undefined ? {} : { about }),
  });
}

function decodeBase64(lines: readonly string[]): Uint8Array {
  const text = lines.join("");
  const bytes = Buffer.from(text, "base64");
  // Buffer skips what is not base64; encoding again shows whether anything was skipped or had stray bits.
  if (text === "" || bytes.toString("base64") !== text)
    throw malformed("its PEM block is not canonical base64");
  return bytes;
}

/**
 * Splits PEM text into the DER of each certificate, in order; at least one.
 * @throws MosError `certificate-malformed`
 */
export function splitPem(pem: Uint8Array): readonly Uint8Array[] {
  if (pem.length > maxPemSize) throw malformed(`more than ${maxPemSize} bytes of PEM`);
  const lines = Buffer.from(pem)
    .toString("latin1")
    .split("\n")
    .map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
  const found: Uint8Array[] = [];
  let block: string[] | undefined;
  for (const line of lines) {
    if (line === begin && block === undefined) {
      block = [];
    } else if (line === end && block !== undefined) {
      found.push(decodeBase64(block));
      block = undefined;
    } else if (block !== undefined) {
      block.push(line);
    } else if (line !== "") {
      throw malformed("text that is not a PEM certificate", line.slice(0, 60));
    }
  }
  if (block !== undefined) throw malformed("a PEM block has no end");
  if (found.length === 0) throw malformed("there is none in the PEM text");
  if (found.length > maxCertificates) throw malformed(`more than ${maxCertificates} of them`);
  return found;
}
