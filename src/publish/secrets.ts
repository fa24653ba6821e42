// Secrets on their way into a manifest: from files that stay with the publisher to what only devices can open.
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
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
 * A secret from a stream, which is the caller's to wipe. What the stream gave is wiped here.
 * @throws MosError `file-unreadable`, `secret-invalid` when it is empty or larger than a secret may be
 */
export async function readSecret(stream: AsyncIterable<Uint8Array>, about: string): Promise<Uint8Array> {
  const refuse = (why: string) => new MosError("secret-invalid", `cannot use a secret: ${why}`, { about });
  const buffer = new Uint8Array(maxSecretSize);
  let length = 0;
  try {
    for await (const piece of stream) {
      if (length + piece.length > buffer.length) throw refuse(`it has more than ${maxSecretSize} bytes`);
      buffer.set(piece, length);
      length += piece.length;
      piece.fill(0);
    }
    if (length === 0) throw refuse("it is empty");
    return buffer.slice(0, length);
  } catch (error) {
    if (error instanceof MosError) throw error;
    return unreadable(about, "a secret")(error);
  } finally {
    buffer.fill(0);
  }
}

/** A secret from a file. @throws as {@link readSecret} */
export async function readSecretFile(file: string): Promise<Uint8Array> {
  return await readSecret(createReadStream(file), file);
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
