// Keysets on a build host: directories of keys and certificates in the published layout
// (KEYSETS/NAME/PROFILE/{privkey.pem,cert.pem[,guid]}, KEYSETS/NAME/manifest/PROJECT/{uuid,privkey.pem,cert.pem}).
// A keyset or project appears whole, by one rename, or not at all; what is there is never written again.
import { createPublicKey, randomBytes, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { createFile, makeDirectory, syncDirectory } from "../system/atomic-file.ts";
import { type Certificate, readCertificates } from "./certificate.ts";
import { type Issued, issue } from "./issue.ts";
import { type KeyType, manifestCa, organizationOf, profiles, projectProfile } from "./profiles.ts";
import { readSigningKey, type SigningKey } from "./signature.ts";

const secretDirectory = 0o700;
const secretFile = 0o600;
const publicFile = 0o644;

/** Letters, digits, `.`, `_`, `-`: safe as a path, and with the fixed text within the 64 characters of an OU. */
const namePattern = /^[a-z0-9][a-z0-9._-]{0,39}$/;
/** ub-organization-name of RFC 5280 appendix A.1 is 64; nothing that cannot be seen. */
const organizationPattern = /^[^\p{C}\p{Zl}\p{Zp}]{1,64}$/u;

/** Where the keysets are: `$MOS_KEYSETS`, or the published place in the home directory. */
export function keysetsDirectory(env: Readonly<Record<string, string | undefined>>): string {
  const chosen = env["MOS_KEYSETS"];
  if (chosen !== undefined && chosen !== "") return chosen;
  return join(env["HOME"] ?? homedir(), ".local/share/machine/trust/keys");
}

function checkName(name: string, what: string): void {
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
async function directoriesIn(path: string): Promise<readonly string[] | undefined> {
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
async function createDirectory(
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

async function writeKey(
  directory: string,
  issued: Issued,
  extra: Readonly<Record<string, string>>,
): Promise<void> {
  await mkdir(directory, { mode: secretDirectory, recursive: true });
  await createFile(join(directory, "privkey.pem"), issued.privateKeyPem, secretFile);
  await createFile(join(directory, "cert.pem"), issued.certificatePem, publicFile);
  for (const [name, text] of Object.entries(extra)) await createFile(join(directory, name), text, publicFile);
}

/** A key in memory as an issuer of the next one. */
function asIssuer(issued: Issued): { certificate: Certificate; key: SigningKey } {
  const [certificate] = readCertificates(Buffer.from(issued.certificatePem));
  return { certificate, key: readSigningKey(issued.privateKeyPem, "a new key") };
}

interface NewKeyset {
  /** The directory of all keysets. */
  readonly root: string;
  readonly name: string;
  readonly organizations: readonly string[];
  /** For the manifest CA and its projects; the formats of EFI, TPM and SUDI hold RSA keys only. */
  readonly keyType: KeyType;
  /** Called before each key is made; RSA keys take a while. */
  readonly onKey?: (key: string, index: number, count: number) => void;
}

/**
 * Makes a keyset and returns its directory.
 * @throws MosError `name-invalid`, `keyset-exists`
 */
export async function addKeyset(input: NewKeyset): Promise<string> {
  checkName(input.name, "keyset");
  const odd = input.organizations.find((organization) => !organizationPattern.test(organization));
  if (odd !== undefined) {
    throw new MosError("name-invalid", "cannot use this organization: 1 to 64 visible characters", {
      about: odd,
    });
  }
  const path = join(input.root, input.name);
  const taken = () =>
    new MosError("keyset-exists", `cannot make the keyset ${input.name}: there is one of this name`, {
      about: path,
    });
  const now = new Date();
  await createDirectory(path, taken, async (temporary) => {
    const made = new Map<string, Issued>();
    for (const [index, profile] of profiles.entries()) {
      input.onKey?.(profile.name, index, profiles.length);
      const above = made.get(profile.issuer);
      const issued = await issue({
        profile,
        organization: organizationOf(profile, input.name, input.organizations),
        keyType: profile.name === manifestCa ? input.keyType : "rsa2048",
        now,
        ...(above === undefined ? {} : { issuer: asIssuer(above) }),
      });
      made.set(profile.name, issued);
      await writeKey(join(temporary, profile.name), issued, profile.hasGuid ? { guid: randomUUID() } : {});
    }
    await mkdir(join(temporary, "manifest"), { mode: secretDirectory });
    await syncDirectory(temporary);
  });
  return path;
}

/** Names of the keysets, sorted. */
export async function listKeysets(root: string): Promise<readonly string[]> {
  return (await directoriesIn(root)) ?? [];
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

/** Names of a keyset's projects, sorted. */
export async function listProjects(root: string, keyset: string): Promise<readonly string[]> {
  return (await directoriesIn(join(await keysetPath(root, keyset), "manifest"))) ?? [];
}

async function readPart(path: string): Promise<string> {
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

async function readPair(
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

export interface Project {
  /** The product that its manifests are for. */
  readonly uuid: string;
  readonly path: string;
  /** The signing certificate, as it is attached to manifests. */
  readonly certificatePem: string;
  /** The certificate of the CA that issued it. */
  readonly caPem: string;
  readonly key: SigningKey;
}

/**
 * Makes a project: a new product uuid, and a certificate under the keyset's manifest CA.
 * @throws MosError `name-invalid`, `keyset-unknown`, `project-exists`, `key-invalid`, `file-unreadable`
 */
export async function addProject(
  root: string,
  keyset: string,
  name: string,
): Promise<{ readonly path: string; readonly uuid: string }> {
  checkName(name, "project");
  const above = await keysetPath(root, keyset);
  const path = join(above, "manifest", name);
  const taken = () =>
    new MosError("project-exists", `cannot make the project ${name}: ${keyset} has one of this name`, {
      about: path,
    });
  const uuid = randomUUID();
  await createDirectory(path, taken, async (temporary) => {
    const issuer = await readPair(join(above, manifestCa));
    const issued = await issue({
      profile: projectProfile(uuid),
      organization: [],
      keyType: issuer.certificate.publicKey.kind === "p256" ? "p256" : "rsa2048",
      now: new Date(),
      issuer,
    });
    await writeKey(temporary, issued, { uuid });
  });
  return { path, uuid };
}

/**
 * Opens a project for signing.
 * @param reference `KEYSET:PROJECT`
 * @throws MosError `name-invalid`, `keyset-unknown`, `project-unknown`, `key-invalid`, `file-unreadable`
 */
export async function openProject(root: string, reference: string): Promise<Project> {
  const [keyset = "", name = "", ...rest] = reference.split(":");
  if (rest.length > 0 || name === "") {
    throw new MosError("name-invalid", "cannot read a project's name: write KEYSET:PROJECT", {
      about: reference,
    });
  }
  checkName(name, "project");
  const above = await keysetPath(root, keyset);
  const path = join(above, "manifest", name);
  if ((await directoriesIn(path)) === undefined) {
    throw new MosError("project-unknown", `cannot find the project ${name} in ${keyset}`, { about: path });
  }
  const { pem, key } = await readPair(path);
  const uuid = (await readPart(join(path, "uuid"))).trim();
  const caPem = await readPart(join(above, manifestCa, "cert.pem"));
  return { uuid, path, certificatePem: pem, caPem, key };
}
