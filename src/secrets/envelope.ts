// A service's secret as a manifest carries it: encrypted once with a key of its own, and that key encrypted to each
// device. Both are bound to one product, service and name: moved to another place they do not open.
//
// data, for all devices:
// | offset | bytes | what                                                                             |
// |--------|-------|----------------------------------------------------------------------------------|
// | 0      | 1     | version: 1                                                                       |
// | 1      | n     | the secret, AES-256-GCM, nonce of 12 zero bytes (the key is used this once only) |
// | 1 + n  | 16    | tag, which covers the version too                                                |
//
// sealed, for one device:
// | offset | bytes | what                                                                             |
// |--------|-------|----------------------------------------------------------------------------------|
// | 0      | 65    | ephemeral public key, an uncompressed point of P-256                             |
// | 65     | 32    | the key of data, encrypted as RFC 9180 says (hpke.ts), without aad, with the info |
// |        |       | "mos secret v1" 00 product 00 service_name 00 name                               |
// | 97     | 16    | tag                                                                              |
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { type Agree, hpkeOverhead, open, seal } from "./hpke.ts";
import type { Point } from "./point.ts";

/** What a secret is bound to. */
export interface SecretPlace {
  readonly product: string;
  readonly service: string;
  readonly name: string;
}

/** Largest secret, bytes: a key, a certificate chain, a configuration file; not data. */
export const maxSecretSize = 64 * 1024;

const version = 1;
const keySize = 32;
const tagSize = 16;
const none = new Uint8Array(0);
const nonce = new Uint8Array(12);
const header = Uint8Array.of(version);

/** Bytes of `data` at least and at most, and of `sealed`. */
export const dataSizes = { min: 1 + 1 + tagSize, max: 1 + maxSecretSize + tagSize } as const;
export const sealedSize = keySize + hpkeOverhead;

/** None of the parts can have a NUL (manifest/names.ts), so that no two places are written alike. */
function contextOf({ product, service, name }: SecretPlace) {
  return { info: Buffer.from(["mos secret v1", product, service, name].join("\0")), aad: none };
}

export interface Envelope {
  readonly data: Uint8Array;
  /** In the order of the recipients. */
  readonly sealed: readonly Uint8Array[];
}

/**
 * Encrypts a secret to devices.
 * @throws RangeError when it is empty or larger than {@link maxSecretSize}
 */
export function sealSecret(recipients: readonly Point[], place: SecretPlace, secret: Uint8Array): Envelope {
  if (secret.length === 0 || secret.length > maxSecretSize) {
    throw new RangeError(`a secret has 1 to ${maxSecretSize} bytes, not ${secret.length}`);
  }
  const key = randomBytes(keySize);
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagSize }).setAAD(header);
  const data = Buffer.concat([header, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
  const sealed = recipients.map((recipient) => seal(recipient, contextOf(place), key));
  key.fill(0);
  return { data, sealed };
}

/**
 * Decrypts a secret, which is the caller's to wipe.
 * @param agree does what takes the private key of `recipient`
 * @throws SyntaxError that says why it does not open; and what `agree` throws
 */
export async function openSecret(
  agree: Agree,
  recipient: Point,
  place: SecretPlace,
  { data, sealed }: { readonly data: Uint8Array; readonly sealed: Uint8Array },
): Promise<Uint8Array> {
  if (data[0] !== version) throw new SyntaxError("it is of a version that is not known");
  if (data.length < dataSizes.min || sealed.length < sealedSize) throw new SyntaxError("it is cut short");
  if (data.length > dataSizes.max || sealed.length > sealedSize) throw new SyntaxError("it is too long");
  const key = await open(agree, recipient, contextOf(place), sealed);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagSize }).setAAD(header);
  key.fill(0);
  decipher.setAuthTag(data.subarray(data.length - tagSize));
  const secret = decipher.update(data.subarray(1, data.length - tagSize));
  try {
    decipher.final();
    return new Uint8Array(secret);
  } catch {
    throw new SyntaxError("what was encrypted was altered");
  } finally {
    // `update` gave a buffer of its own; the caller has the copy.
    secret.fill(0);
  }
}
