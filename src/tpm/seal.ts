// Secrets that only this TPM gives back, and only under a policy. Up to 128 bytes the TPM holds the secret itself; of a
// larger one it holds the key of an AES-256-GCM encryption.
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { authorize } from "./access.ts";
import { decodeAll, encode } from "./buffer.ts";
import { create, load, type TpmObject, unsealObject } from "./keys.ts";
import { nameOfPublic } from "./names.ts";
import { type AuthorizationOf, digestOfPolicy, type Policy } from "./policy.ts";
import { decodeSizedPublic, encodeSizedPublic, type Public } from "./public.ts";
import { isTpmAnswer } from "./response-code.ts";
import type { Session } from "./session.ts";
import { openStorageKey, startSession } from "./start-session.ts";
import { sealedTemplate } from "./templates.ts";
import type { Tpm } from "./tpm.ts";

/** A sealed secret outside the TPM. Nothing of it is secret. */
export interface SealedSecret {
  /** TPM2B_PUBLIC: the file that `tpm2_load -u` takes. */
  readonly public: Uint8Array;
  /** TPM2B_PRIVATE: the file that `tpm2_load -r` takes. */
  readonly private: Uint8Array;
  /** Nonce, ciphertext and tag, when the secret was too large for the TPM. */
  readonly encrypted?: Uint8Array;
}

export interface SealOptions {
  readonly policy: Policy;
  /** Asked for where the policy has a step `auth-value`; default empty. */
  readonly authValue?: Uint8Array;
  /** The key that it is sealed under; default: the storage root key. Its authorization value must be empty. */
  readonly parent?: TpmObject;
}

export interface UnsealOptions extends SealOptions {
  readonly authorizationOf?: AuthorizationOf;
}

/** MAX_SYM_DATA, Part 2, table 140: what the TPM itself seals. */
const maxSealed = 128;
const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const none = new Uint8Array(0);

/** Seals a secret under a policy. @throws TpmError, MosError */
export async function seal(tpm: Tpm, secret: Uint8Array, options: SealOptions): Promise<SealedSecret> {
  const large = secret.length > maxSealed;
  const data = large ? randomBytes(keyBytes) : secret;
  try {
    const template = sealedTemplate(digestOfPolicy(options.policy));
    const made = await withParent(tpm, options.parent, async (parent) => {
      await using session = await startSession(tpm, "hmac", parent);
      const authorization = { kind: "session", session, authValue: none, last: true } as const;
      const { authValue = none } = options;
      return await create(tpm, parent, authorization, template, { data, authValue });
    });
    return {
      public: encodeSizedPublic(made.public),
      private: encode((writer) => writer.sized(made.private)),
      ...(large ? { encrypted: encrypt(data, secret, made.public) } : {}),
    };
  } finally {
    if (large) data.fill(0);
  }
}

/**
 * Gives back a sealed secret; the caller overwrites it after use.
 * @throws TpmError (`TPM_RC_POLICY_FAIL`, `TPM_RC_VALUE`, … as satisfyPolicy()), MosError `tpm-data-invalid` when it is
 *   damaged or was sealed by another TPM
 */
export async function unseal(tpm: Tpm, sealed: SealedSecret, options: UnsealOptions): Promise<Uint8Array> {
  const blob = {
    public: decoded(() => decodeSizedPublic(sealed.public)),
    private: decoded(() => decodeAll(sealed.private, (reader) => reader.sized())),
  };
  const data = await withParent(tpm, options.parent, async (parent) => {
    // One session in turn for both: it proves nothing to the parent, whose authorization value is empty.
    await using object = await loadSealed(tpm, parent, blob);
    await using session = await startSession(tpm, "policy", parent);
    return await openSealed(tpm, object, session, options);
  });
  if (sealed.encrypted === undefined) return data;
  try {
    return decrypt(data, sealed.encrypted, blob.public);
  } finally {
    data.fill(0);
  }
}

async function openSealed(
  tpm: Tpm,
  object: TpmObject,
  session: Session,
  { policy, authValue = none, authorizationOf }: UnsealOptions,
): Promise<Uint8Array> {
  const access = { kind: "policy", session, policy, authValue } as const;
  const asked = authorizationOf === undefined ? access : { ...access, authorizationOf };
  return await unsealObject(tpm, object, await authorize(tpm, asked, true));
}

async function loadSealed(tpm: Tpm, parent: TpmObject, blob: Parameters<typeof load>[3]): Promise<TpmObject> {
  try {
    return await load(tpm, parent, { kind: "empty" }, blob);
  } catch (error) {
    if (!isTpmAnswer(error, "TPM_RC_INTEGRITY")) throw error;
    throw new MosError(
      "tpm-data-invalid",
      "cannot load a sealed secret: it was altered, or sealed by another TPM",
      {
        cause: error,
      },
    );
  }
}

async function withParent<T>(
  tpm: Tpm,
  given: TpmObject | undefined,
  work: (parent: TpmObject) => Promise<T>,
): Promise<T> {
  if (given !== undefined) return await work(given);
  await using parent = await openStorageKey(tpm);
  return await work(parent);
}

/** The Name of the sealed key is authenticated too: the two parts of different secrets do not fit together. */
function encrypt(key: Uint8Array, secret: Uint8Array, area: Public): Uint8Array {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(nameOfPublic(area));
  return Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Uint8Array, encrypted: Uint8Array, area: Public): Uint8Array {
  const text = new Uint8Array(Math.max(0, encrypted.length - nonceBytes - tagBytes));
  try {
    const nonce = encrypted.subarray(0, nonceBytes);
    const cipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: tagBytes });
    cipher.setAAD(nameOfPublic(area)).setAuthTag(encrypted.subarray(-tagBytes));
    const clear = cipher.update(encrypted.subarray(nonceBytes, -tagBytes));
    text.set(clear);
    clear.fill(0);
    cipher.final();
    return text;
  } catch (error) {
    text.fill(0);
    throw new MosError("tpm-data-invalid", "cannot decrypt a sealed secret: it is damaged", { cause: error });
  }
}

function decoded<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new MosError("tpm-data-invalid", `cannot read a sealed secret: ${error.message}`, { cause: error });
  }
}
