// What may be shown of a keyset: names, paths, what certificates say, public values. Never a private key.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { readCertificates } from "./certificate.ts";
import { listProjects } from "./keyset.ts";
import { keysetPath } from "./keyset-files.ts";

/** What people and JSON readers are told of a certificate. */
interface CertificateView {
  readonly subject: string;
  readonly issuer: string;
  readonly key: string;
  readonly isCa: boolean;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SHA-256 of the DER, hex. */
  readonly fingerprint: string;
}

export interface KeyView {
  /** `manifest-ca`, …, or `manifest:PROJECT`. */
  readonly key: string;
  readonly path: string;
  /** Names of the files. */
  readonly items: readonly string[];
  readonly certificate?: CertificateView;
  /** Why there is no certificate to show. */
  readonly problem?: string;
  /** Short public values: `guid` or `uuid`. */
  readonly values: Readonly<Record<string, string>>;
}

const projectPrefix = "manifest:";
const privateItem = "privkey.pem";
const publicValues = ["guid", "uuid"];

async function readCertificateView(path: string): Promise<CertificateView> {
  const [certificate] = readCertificates(await readFile(path));
  const { kind, bits } = certificate.publicKey;
  return {
    subject: certificate.subject.text,
    issuer: certificate.issuer.text,
    key: kind === "rsa" ? `RSA-${bits}` : "P-256",
    isCa: certificate.permissions.isCa,
    notBefore: certificate.notBefore.toISOString(),
    notAfter: certificate.notAfter.toISOString(),
    fingerprint: certificate.fingerprint,
  };
}

async function viewKey(key: string, path: string): Promise<KeyView> {
  const entries = await readdir(path, { withFileTypes: true });
  const items = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
    .map((entry) => entry.name)
    .sort();
  const values: Record<string, string> = {};
  for (const name of publicValues.filter((value) => items.includes(value))) {
    values[name] = (await readFile(join(path, name), "utf8")).trim();
  }
  try {
    return { key, path, items, values, certificate: await readCertificateView(join(path, "cert.pem")) };
  } catch (error) {
    const problem = systemCode(error) === "ENOENT" ? "no cert.pem" : asMosError(error).message;
    return { key, path, items, values, problem };
  }
}

/**
 * Every key of a keyset, and then its projects.
 * @throws MosError `name-invalid`, `keyset-unknown`
 */
export async function viewKeyset(root: string, keyset: string): Promise<readonly KeyView[]> {
  const path = await keysetPath(root, keyset);
  const entries = await readdir(path, { withFileTypes: true });
  const isKey = async (name: string): Promise<boolean> =>
    (await readdir(join(path, name))).includes("cert.pem");
  const views: KeyView[] = [];
  for (const { name } of entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))) {
    if (await isKey(name)) views.push(await viewKey(name, join(path, name)));
  }
  views.sort((a, b) => (a.key < b.key ? -1 : 1));
  return [...views, ...(await viewProjects(root, keyset))];
}

/**
 * The projects of a keyset.
 * @throws MosError `name-invalid`, `keyset-unknown`
 */
export async function viewProjects(root: string, keyset: string): Promise<readonly KeyView[]> {
  const path = join(await keysetPath(root, keyset), "manifest");
  const names = await listProjects(root, keyset);
  return await Promise.all(names.map((name) => viewKey(`${projectPrefix}${name}`, join(path, name))));
}

/**
 * One key of a keyset, or one project as `manifest:PROJECT`.
 * @throws MosError `name-invalid`, `keyset-unknown`, `key-unknown`
 */
export async function findKey(root: string, keyset: string, key: string): Promise<KeyView> {
  const views = await viewKeyset(root, keyset);
  const found = views.find((view) => view.key === key);
  if (found !== undefined) return found;
  throw new MosError("key-unknown", `cannot find the key ${key} in the keyset ${keyset}`, {
    about: key,
    hint: `It has ${views.map((view) => view.key).join(", ")}.`,
  });
}

/**
 * The path of one file of a key. Any file has a path, a private key too.
 * @throws MosError `key-unknown`
 */
export function itemPath(view: KeyView, item: string): string {
  if (view.items.includes(item)) return join(view.path, item);
  throw new MosError("key-unknown", `cannot find ${item} in ${view.key}`, {
    about: view.path,
    hint: `It has ${view.items.join(", ")}.`,
  });
}

/**
 * The text of one file of a key.
 * @throws MosError `key-unknown`, `key-secret`
 */
export async function itemValue(view: KeyView, item: string): Promise<string> {
  const path = itemPath(view, item);
  if (item === privateItem) {
    throw new MosError("key-secret", "cannot show a private key: mos never prints one", { about: path });
  }
  return await readFile(path, "utf8");
}
