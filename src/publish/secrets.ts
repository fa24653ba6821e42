// Secrets on their way into a manifest: from files that stay with the publisher to what only devices can open.
import { type FileHandle, open, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { asMosError, MosError } from "../errors/mos-error.ts";
import type { ImportManifest } from "../manifest/schema.ts";
import type { ImportSecret, Secret } from "../manifest/secret-schema.ts";
import { maxSecretSize, type SecretPlace, sealSecret } from "../secrets/envelope.ts";
import type { Point } from "../secrets/point.ts";
import { keyIdOf, readRecipient } from "../secrets/recipient.ts";

/**
 * The public keys of devices from PEM files, each once.
 * @throws MosError `file-unreadable`, `key-invalid`
 */
export async function readRecipients(files: readonly string[]): Promise<Point[]> {
  const found = new Map<string, Point>();
  for (const file of files) {
    const point = readRecipient(await readFile(file, "utf8").catch(unreadable(file, "a device's key")), file);
    found.set(keyIdOf(point), point);
  }
  return [...found.values()];
}

function unreadable(file: string, what: string): (error: unknown) => never {
  return (error) => {
    const why = asMosError(error).message;
    throw new MosError("file-unreadable", `cannot read ${what}: ${why}`, { about: file, cause: error });
  };
}

/**
 * The bytes of a file with a secret, which are the caller's to wipe.
 * @throws MosError `file-unreadable`, `secret-invalid` when there is more than a secret may have
 */
export async function readSecretFile(file: string): Promise<Uint8Array> {
  await using handle = await open(file).catch(unreadable(file, "a secret"));
  return await readSecret(handle, file).catch((error: unknown) => {
    if (error instanceof MosError) throw error;
    return unreadable(file, "a secret")(error);
  });
}

async function readSecret(handle: FileHandle, file: string): Promise<Uint8Array> {
  const buffer = new Uint8Array(maxSecretSize + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  const secret = buffer.slice(0, length);
  buffer.fill(0);
  if (length > 0 && length <= maxSecretSize) return secret;
  secret.fill(0);
  const why = length === 0 ? "it is empty" : `it has more than ${maxSecretSize} bytes`;
  throw new MosError("secret-invalid", `cannot use a secret: ${why}`, { about: file });
}

/** A secret as install.json has it; `secret` is wiped. */
export function encryptSecret(recipients: readonly Point[], place: SecretPlace, secret: Uint8Array): Secret {
  const { data, sealed } = sealSecret(recipients, place, secret);
  secret.fill(0);
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  return {
    name: place.name,
    data: base64(data),
    recipients: recipients.map((recipient, i) => ({
      key: keyIdOf(recipient),
      sealed: base64(sealed[i] ?? new Uint8Array(0)),
    })),
  };
}

/**
 * The secrets of each target, encrypted. Those that come from files are encrypted anew each time.
 * @throws MosError `file-unreadable`, `key-invalid`, `secret-invalid`
 */
export async function encryptSecrets(
  { product, targets }: ImportManifest,
  baseDirectory: string,
): Promise<Secret[][]> {
  const all: Secret[][] = [];
  for (const { service_name: service, secrets } of targets) {
    const ofTarget: Secret[] = [];
    for (const secret of secrets) {
      ofTarget.push(await encryptOne(secret, { product, service, name: secret.name }, baseDirectory));
    }
    all.push(ofTarget);
  }
  return all;
}

async function encryptOne(
  { name, encrypted, file = "", recipients = [] }: ImportSecret,
  place: SecretPlace,
  baseDirectory: string,
): Promise<Secret> {
  if (encrypted !== undefined) return { name, ...encrypted };
  const points = await readRecipients(recipients.map((path) => resolve(baseDirectory, path)));
  return encryptSecret(points, place, await readSecretFile(resolve(baseDirectory, file)));
}
