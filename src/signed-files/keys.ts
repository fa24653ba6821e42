// Keys of the validator format: PEM files, one key each. Private keys are PKCS#8, public keys SubjectPublicKeyInfo.
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { type ByteText, below, toText } from "./byte-path.ts";
import { absolute, type Run } from "./engine.ts";
import { kindBehind, namesIn, readWhole } from "./read-files.ts";
import { codeOf, reasonOf } from "./report.ts";

/** PEM of any key that OpenSSL knows, with room (bytes). */
const maxKeyFile = 64 * 1024;

/** The only block of PEM that counts. */
function isPem(bytes: Uint8Array, label: string): boolean {
  return Buffer.from(bytes).toString("latin1").includes(`-----BEGIN ${label}-----`);
}

function read(path: ByteText, what: string, run: Run): Buffer | undefined {
  try {
    return readWhole(absolute(run, path), maxKeyFile);
  } catch (error) {
    run.report.problem("signed-key-invalid", `Can't open ${what} key ${toText(path)}: ${reasonOf(error)}`);
    return undefined;
  }
}

function parsed(bytes: Buffer, make: (bytes: Buffer) => KeyObject, isKind: boolean): KeyObject | undefined {
  if (!isKind) return undefined;
  try {
    return make(bytes);
  } catch {
    // Whatever OpenSSL says of it: it is none. "unsupported" is what validator prints then.
    return undefined;
  }
}

function admitted(key: KeyObject | undefined, path: ByteText, what: string, run: Run): KeyObject | undefined {
  if (key === undefined) {
    run.report.problem("signed-key-invalid", `Can't parse ${what} key ${toText(path)}: unsupported`);
  } else if (run.strict && key.asymmetricKeyType !== "ed25519") {
    const kind = key.asymmetricKeyType ?? "unknown";
    run.report.problem("signed-key-invalid", `The ${what} key ${toText(path)} is not Ed25519 but ${kind}`);
    return undefined;
  } else {
    run.report.info(`Loaded ${what} key '${toText(path)}'`);
  }
  return key;
}

/** Reads a private key; undefined when it was reported as unusable. One that is encrypted is. */
export function loadPrivateKey(path: ByteText, run: Run): KeyObject | undefined {
  const bytes = read(path, "private", run);
  if (bytes === undefined) return undefined;
  const isKind = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].some((label) => isPem(bytes, label));
  return admitted(parsed(bytes, createPrivateKey, isKind), path, "private", run);
}

/** Reads a public key; undefined when it was reported as unusable. */
function loadPublicKey(path: ByteText, run: Run): KeyObject | undefined {
  const bytes = read(path, "public", run);
  if (bytes === undefined) return undefined;
  return admitted(parsed(bytes, createPublicKey, isPem(bytes, "PUBLIC KEY")), path, "public", run);
}

function keysIn(directory: ByteText, run: Run): KeyObject[] | undefined {
  let names: readonly ByteText[];
  try {
    names = namesIn(absolute(run, directory));
  } catch (error) {
    const why = reasonOf(error);
    if (run.strict || why !== "No such file or directory") {
      const code = codeOf(error, "signed-key-invalid");
      run.report.problem(code, `Can't open key directory '${toText(directory)}': ${why}`);
      return undefined;
    }
    return [];
  }
  const keys: KeyObject[] = [];
  for (const name of names) {
    const path = below(directory, name);
    // A link that leads nowhere is no key; everything else has to be one.
    if (kindBehind(absolute(run, path)) === undefined) continue;
    const key = loadPublicKey(path, run);
    if (key === undefined) return undefined;
    keys.push(key);
  }
  return keys;
}

/** All keys of some files and directories; undefined when one of them was reported as unusable. */
export function loadPublicKeys(
  files: readonly ByteText[],
  directories: readonly ByteText[],
  run: Run,
): readonly KeyObject[] | undefined {
  const keys: KeyObject[] = [];
  for (const file of files) {
    const key = loadPublicKey(file, run);
    if (key === undefined) return undefined;
    keys.push(key);
  }
  for (const directory of directories) {
    const found = keysIn(directory, run);
    if (found === undefined) return undefined;
    keys.push(...found);
  }
  if (run.strict && keys.length === 0) {
    run.report.problem("signed-key-invalid", "No public key was found");
    return undefined;
  }
  return keys;
}
