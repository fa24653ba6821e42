// The files of a keyset: names, directories that appear whole, keys with their certificates.
import { createPublicKey, randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { createFile, makeDirectory, syncDirectory } from "../system/atomic-file.ts";
import { type Certificate, readCertificates } from "./certificate.ts";
import type { Issued } from "./issue.ts";
import { readSigningKey, type SigningKey } from "./signature.ts";

export const secretDirectory = 0o700;
const secretFile = 0o600;
const publicFile = 0o644;

/** Letters, digits, `.`, `_`, `-`: safe as a path, and with the fixed text within the 64 characters of an OU. */
const namePattern = /^[a-z0-9][a-z0-9._-]{0,39}$/;

/** Where the keysets are: `$MOS_KEYSETS`, or the published place in the home directory. */
export function keysetsDirectory(env: Readonly<Record<string, string | undefined>>): string {
  const chosen = env["MOS_KEYSETS"];
  if (chosen !== undefined && chosen !== "") return chosen;
  return join(env["HOME"] ?? homedir(), ".local/share/machine/trust/keys");
}

export function checkName(name: string, what: string): void {
  if (namePattern.test(name)) return;
  throw new MosError(
    "name-invalid",
    `cannot use this name for a ${what}: at most 40 characters, a-z 0-9 . _ -`,
    {
      about: name,
    },
  );
}

/** Names of the directories in a directory, sorted, without temporary ones; undefined when there is none. */
export async function directoriesIn(path: string): Promise<readonly string[] | undefined> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** Fills a directory under a temporary name and gives it its own: whole or not at all, never over another. */
export async function createDirectory(
  path: string,
  taken: () => MosError,
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  const parent = join(path, "..");
  await makeDirectory(parent, secretDirectory);
  if ((await directoriesIn(path)) !== undefined) throw taken();
  const temporary = join(parent, `.new-${randomBytes(6).toString("hex")}`);
  await mkdir(temporary, { mode: secretDirectory });
  try {
    await fill(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    const lost = ["ENOTEMPTY", "EEXIST", "ENOTDIR"].includes(systemCode(error) ?? "");
    throw lost ? taken() : error;
  }
  await syncDirectory(parent);
}

export async function writeKey(
  directory: string,
  issued: Issued,
  extra: Readonly<Record<string, string>>,
): Promise<void> {
  await mkdir(directory, { mode: secretDirectory, recursive: true });
  await createFile(join(directory, "privkey.pem"), issued.privateKeyPem, secretFile);
  await createFile(join(directory, "cert.pem"), issued.certificatePem, publicFile);
  for (const [name, text] of Object.entries(extra)) await createFile(join(directory, name), text, publicFile);
}

/**
 * The directory of a keyset.
 * @throws MosError `name-invalid`, `keyset-unknown`
 */
export async function keysetPath(root: string, name: string): Promise<string> {
  checkName(name, "keyset");
  const path = join(root, name);
  if ((await directoriesIn(path)) === undefined) {
    throw new MosError("keyset-unknown", `cannot find the keyset ${name}`, { about: path });
  }
  return path;
}

export async function readPart(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const why = systemCode(error) ?? "unknown";
    throw new MosError("file-unreadable", `cannot read a part of a keyset (${why})`, {
      about: path,
      cause: error,
    });
  }
}

export async function readPair(
  directory: string,
): Promise<{ certificate: Certificate; pem: string; key: SigningKey }> {
  const keyPath = join(directory, "privkey.pem");
  const [pem, keyPem] = await Promise.all([readPart(join(directory, "cert.pem")), readPart(keyPath)]);
  const [certificate] = readCertificates(Buffer.from(pem));
  const key = readSigningKey(keyPem, keyPath);
  if (!createPublicKey(key).equals(certificate.publicKey.object)) {
    throw new MosError("key-invalid", "cannot use a private key that does not belong to its certificate", {
      about: keyPath,
    });
  }
  return { certificate, pem, key };
}

/**
 * The directories of a project, and of the keyset above it.
 * @throws MosError `name-invalid`, `keyset-unknown`, `project-unknown`
 */
export async function openProjectDirectory(
  root: string,
  keyset: string,
  name: string,
): Promise<{ readonly above: string; readonly path: string }> {
  checkName(name, "project");
  const above = await keysetPath(root, keyset);
  const path = join(above, "manifest", name);
  if ((await directoriesIn(path)) === undefined) {
    throw new MosError("project-unknown", `cannot find the project ${name} in ${keyset}`, { about: path });
  }
  return { above, path };
}

/**
 * Splits `KEYSET:PROJECT`.
 * @throws MosError `name-invalid`
 */
export function splitProjectReference(reference: string): readonly [keyset: string, project: string] {
  const [keyset = "", name = "", ...rest] = reference.split(":");
  if (rest.length === 0 && name !== "") return [keyset, name];
  throw new MosError("name-invalid", "cannot read a project's name: write KEYSET:PROJECT", {
    about: reference,
  });
}
