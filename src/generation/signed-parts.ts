// A signed manifest as it lies in a directory: the exact bytes, and each signature with its certificates. The first
// pair has the file names of the published system; further ones are numbered.
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { limits } from "../oci/model.ts";
import type { SignaturePair } from "../trust/manifest-signature.ts";

/** A manifest and the signatures that were accepted with it, as received. At least one. */
export interface SignedParts {
  readonly manifest: Uint8Array;
  readonly signatures: readonly SignaturePair[];
}

/** As many signatures as a policy may ask for. */
export const maxSignatures = 16;

function manifestName(prefix: string): string {
  return `${prefix}install.json`;
}

function pairNames(
  prefix: string,
  index: number,
): { readonly signature: string; readonly certificates: string } {
  const number = index === 0 ? "" : `-${index + 1}`;
  return { signature: `${prefix}install.json.signed${number}`, certificates: `${prefix}cert${number}.pem` };
}

/** The files of signed parts, by name. */
export function signedFiles(
  { manifest, signatures }: SignedParts,
  prefix = "",
): ReadonlyMap<string, Uint8Array> {
  const files = new Map([[manifestName(prefix), manifest]]);
  for (const [i, { signature, certificates }] of signatures.entries()) {
    const names = pairNames(prefix, i);
    files.set(names.signature, signature);
    files.set(names.certificates, certificates);
  }
  return files;
}

/** A file of the state, or undefined when it is not there. @throws MosError `state-invalid` when it is too large */
async function readOptional(path: string, limit: number): Promise<Uint8Array | undefined> {
  try {
    if ((await stat(path)).size > limit) {
      throw new MosError("state-invalid", `${path} is larger than the ${limit} bytes it may have`, {
        about: path,
      });
    }
    return await readFile(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** A file that must be there. @throws MosError `state-invalid` */
export async function readStateFile(path: string, limit: number): Promise<Uint8Array> {
  const content = await readOptional(path, limit);
  if (content === undefined) throw new MosError("state-invalid", `${path} is missing`, { about: path });
  return content;
}

/** Whether signed parts lie under this prefix. */
export async function hasSignedParts(directory: string, prefix: string): Promise<boolean> {
  return (await readOptional(join(directory, manifestName(prefix)), limits.installManifest)) !== undefined;
}

/** Reads signed parts as they lie on disk; nothing in them is trusted yet. @throws MosError `state-invalid` */
export async function readSignedParts(directory: string, prefix = ""): Promise<SignedParts> {
  const manifest = await readStateFile(join(directory, manifestName(prefix)), limits.installManifest);
  const signatures: SignaturePair[] = [];
  for (let i = 0; i < maxSignatures; i++) {
    const names = pairNames(prefix, i);
    const signature = await readOptional(join(directory, names.signature), limits.signature);
    if (signature === undefined) break;
    const certificates = await readStateFile(join(directory, names.certificates), limits.certificate);
    signatures.push({ signature, certificates });
  }
  if (signatures.length === 0) {
    const path = join(directory, pairNames(prefix, 0).signature);
    throw new MosError("state-invalid", `${path} is missing`, { about: path });
  }
  return { manifest, signatures };
}
