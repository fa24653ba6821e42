// Hybrid Public Key Encryption (RFC 9180), base mode, one message per context, in one suite: DHKEM(P-256,
// HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The recipient's side asks somebody else for the one operation that needs
// the private key, which is in a TPM.
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { makeEphemeral, type Point, pointSize, readPoint } from "./point.ts";

// Section 7: the numbers of the suite.
const kem = Buffer.of(0x00, 0x10);
const kdf = Buffer.of(0x00, 0x01);
const aead = Buffer.of(0x00, 0x02);

// Sections 7.1 to 7.3: Nsecret, Nk, Nn and the length of the authentication tag.
const secretSize = 32;
const keySize = 32;
const nonceSize = 12;
const tagSize = 16;

const modeBase = Buffer.of(0x00);
const version = Buffer.from("HPKE-v1");
const kemSuite = Buffer.concat([Buffer.from("KEM"), kem]);
const suite = Buffer.concat([Buffer.from("HPKE"), kem, kdf, aead]);
const none = Buffer.alloc(0);

/** What a message is longer than its plaintext, in bytes: the encapsulated key before it and the tag after it. */
export const hpkeOverhead = pointSize + tagSize;

/** What both sides know: it is not sent, and has to be the same. */
export interface MessageContext {
  readonly info: Uint8Array;
  readonly aad: Uint8Array;
}

/**
 * ECDH with the recipient's private key.
 * @returns the x coordinate of the shared point, 32 bytes, which becomes the callee's to wipe
 */
export type Agree = (point: Point) => Promise<Uint8Array>;

function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

/** LabeledExtract, section 4. */
function extract(suiteId: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array): Buffer {
  return hmac(salt, version, suiteId, Buffer.from(label), ikm);
}

/** LabeledExpand, section 4; one block of HKDF (RFC 5869, section 2.3) is enough for all that is expanded here. */
function expand(
  suiteId: Uint8Array,
  prk: Uint8Array,
  label: string,
  info: Uint8Array,
  length: number,
): Uint8Array {
  const block = hmac(prk, Buffer.of(0, length), version, suiteId, Buffer.from(label), info, Buffer.of(1));
  const result = new Uint8Array(block.subarray(0, length));
  block.fill(0);
  return result;
}

interface Keys {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
}

/** ExtractAndExpand (section 4.1), then KeySchedule for the first message (section 5.1). Wipes `shared`. */
function keysOf(shared: Uint8Array, encapsulated: Point, recipient: Point, info: Uint8Array): Keys {
  const eaePrk = extract(kemSuite, none, "eae_prk", shared);
  shared.fill(0);
  const both = Buffer.concat([encapsulated, recipient]);
  const sharedSecret = expand(kemSuite, eaePrk, "shared_secret", both, secretSize);
  const pskIdHash = extract(suite, none, "psk_id_hash", none);
  const infoHash = extract(suite, none, "info_hash", info);
  const context = Buffer.concat([modeBase, pskIdHash, infoHash]);
  const secret = extract(suite, sharedSecret, "secret", none);
  const key = expand(suite, secret, "key", context, keySize);
  const nonce = expand(suite, secret, "base_nonce", context, nonceSize);
  for (const wiped of [eaePrk, sharedSecret, secret]) wiped.fill(0);
  return { key, nonce };
}

/** Encrypts to a recipient: SealBase, section 6.1. */
export function seal(recipient: Point, { info, aad }: MessageContext, plaintext: Uint8Array): Uint8Array {
  const { point, shared } = makeEphemeral(recipient);
  const { key, nonce } = keysOf(shared, point, recipient, info);
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: tagSize }).setAAD(aad);
  key.fill(0);
  return Buffer.concat([point, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Decrypts: OpenBase, section 6.1.
 * @throws SyntaxError when the message is cut short, begins with no point of the curve, or is not one that was made
 *   for this recipient in this context; and what `agree` throws
 */
export async function open(
  agree: Agree,
  recipient: Point,
  { info, aad }: MessageContext,
  message: Uint8Array,
): Promise<Uint8Array> {
  if (message.length < hpkeOverhead) throw new SyntaxError("it is cut short");
  const point = readPoint(message.subarray(0, pointSize));
  const { key, nonce } = keysOf(await agree(point), point, recipient, info);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagSize }).setAAD(aad);
  key.fill(0);
  decipher.setAuthTag(message.subarray(message.length - tagSize));
  const opened = decipher.update(message.subarray(pointSize, message.length - tagSize));
  try {
    // GCM gives nothing more here: it only says whether the tag is right.
    decipher.final();
  } catch {
    opened.fill(0);
    throw new SyntaxError("it was not made for this device, product, service and name, or was altered");
  }
  return opened;
}
