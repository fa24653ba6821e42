// EFI programs and their keys as files: read with bounds, written whole or not at all.
import { createPublicKey } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { writeFileAtomic } from "../system/atomic-file.ts";
import { type Certificate, readCertificates } from "../trust/certificate.ts";
import { readSigningKey, type SigningKey } from "../trust/signature.ts";
import { maxImageSize } from "./pe.ts";

function unreadable(path: string, why: string, cause?: unknown): MosError {
  return new MosError("file-unreadable", `cannot read ${path}: ${why}`, { about: path, cause });
}

/**
 * The bytes of a file that is at most as large as an EFI image may be.
 * @throws MosError `file-unreadable`
 */
export async function readImageFile(path: string): Promise<Uint8Array> {
  try {
    await using handle = await open(path, "r");
    const information = await handle.stat();
    if (!information.isFile()) throw unreadable(path, "it is not a file");
    if (information.size > maxImageSize) throw unreadable(path, `it has more than ${maxImageSize} bytes`);
    return await handle.readFile();
  } catch (error) {
    throw error instanceof MosError ? error : unreadable(path, systemCode(error) ?? "unknown", error);
  }
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw unreadable(path, systemCode(error) ?? "unknown", error);
  }
}

/**
 * The certificates of a PEM file, at least one.
 * @throws MosError `file-unreadable`, `certificate-malformed`, `algorithm-refused`, `chain-constraint`
 */
export async function readCertificateFile(path: string): Promise<readonly [Certificate, ...Certificate[]]> {
  return readCertificates(Buffer.from(await readText(path)));
}

/**
 * A private key and the certificate of its public half.
 * @throws MosError as {@link readCertificateFile}, and `key-invalid`
 */
export async function readSigner(
  keyPath: string,
  certificatePath: string,
): Promise<{ readonly key: SigningKey; readonly certificate: Certificate }> {
  const [certificate] = await readCertificateFile(certificatePath);
  const key = readSigningKey(await readText(keyPath), keyPath);
  if (!createPublicKey(key).equals(certificate.publicKey.object)) {
    throw new MosError("key-invalid", "cannot sign with a key that does not belong to the certificate", {
      about: keyPath,
    });
  }
  return { key, certificate };
}

/**
 * Writes what a build made. What is there already with the same content is left alone; with other content it is
 * only replaced when it is the input itself, which was named as the output on purpose.
 * @returns whether anything was written
 * @throws MosError `output-exists`, and the system's error
 */
export async function writeOutput(path: string, content: Uint8Array, input?: string): Promise<boolean> {
  let existing: Uint8Array | undefined;
  try {
    existing = await readFile(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw unreadable(path, systemCode(error) ?? "unknown", error);
  }
  if (existing !== undefined && Buffer.compare(existing, content) === 0) return false;
  if (existing !== undefined && (input === undefined || resolve(input) !== resolve(path))) {
    throw new MosError("output-exists", `cannot write ${path}: it is there already, with other content`, {
      about: path,
    });
  }
  await writeFileAtomic(path, content);
  return true;
}
