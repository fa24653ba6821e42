// Keysets on a build host: directories of keys and certificates in the published layout
// (KEYSETS/NAME/PROFILE/{privkey.pem,cert.pem[,guid]}, KEYSETS/NAME/manifest/PROJECT/{uuid,privkey.pem,cert.pem}).
// A keyset or project appears whole, by one rename, or not at all; what is there is never written again.
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { syncDirectory } from "../system/atomic-file.ts";
import { type Certificate, readCertificates } from "./certificate.ts";
import { type Issued, issue } from "./issue.ts";
import {
  checkName,
  createDirectory,
  directoriesIn,
  keysetPath,
  openProjectDirectory,
  readPair,
  readPart,
  secretDirectory,
  splitProjectReference,
  writeKey,
} from "./keyset-files.ts";
import { type KeyType, manifestCa, organizationOf, profiles, projectProfile } from "./profiles.ts";
import { readSigningKey, type SigningKey } from "./signature.ts";

/** ub-organization-name of RFC 5280 appendix A.1 is 64; nothing that cannot be seen. */
const organizationPattern = /^[^\p{C}\p{Zl}\p{Zp}]{1,64}$/u;

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

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

/** Names of a keyset's projects, sorted. */
export async function listProjects(root: string, keyset: string): Promise<readonly string[]> {
  return (await directoriesIn(join(await keysetPath(root, keyset), "manifest"))) ?? [];
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
 * Makes a project: a product uuid, and a key with a certificate under the keyset's manifest CA.
 * @param product of another project: then this one is a further signer of the same product; default a new uuid
 * @throws MosError `name-invalid`, `keyset-unknown`, `project-exists`, `key-invalid`, `file-unreadable`
 */
export async function addProject(
  root: string,
  keyset: string,
  name: string,
  product?: string,
): Promise<{ readonly path: string; readonly uuid: string }> {
  checkName(name, "project");
  if (product !== undefined && !uuidPattern.test(product)) {
    throw new MosError("name-invalid", "cannot use this as a product: it is no uuid in lower case", {
      about: product,
    });
  }
  const above = await keysetPath(root, keyset);
  const path = join(above, "manifest", name);
  const taken = () =>
    new MosError("project-exists", `cannot make the project ${name}: ${keyset} has one of this name`, {
      about: path,
    });
  const uuid = product ?? randomUUID();
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
  const { above, path } = await openProjectDirectory(root, ...splitProjectReference(reference));
  const { pem, key } = await readPair(path);
  const uuid = (await readPart(join(path, "uuid"))).trim();
  const caPem = await readPart(join(above, manifestCa, "cert.pem"));
  return { uuid, path, certificatePem: pem, caPem, key };
}
