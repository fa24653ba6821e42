// A session on our side: its key, its nonces, the proof in each command and the check of each answer, and the
// encryption of a parameter (Part 1, sections 19.6 and 21). What is compared with a secret is compared in constant time.
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import { sessionAttributes } from "./constants.ts";
import { digestSizes } from "./hashes.ts";
import { kdfA } from "./kdf.ts";
import type { Name } from "./names.ts";
import { permanentEntity } from "./names.ts";

/** The hash of all our sessions. */
export const sessionHash = "sha256";
/** The cipher of all our sessions: AES with 128 bits in CFB mode. */
export const sessionCipher = { name: "aes-128-cfb", bits: 128, blockBytes: 16 } as const;

export type SessionKind = "hmac" | "policy" | "trial";

/** What a new session is made of. */
export interface SessionStart {
  readonly kind: SessionKind;
  readonly handle: number;
  readonly nonceCaller: Uint8Array;
  readonly nonceTpm: Uint8Array;
  /** Empty when the session is not salted; it is overwritten. */
  readonly salt: Uint8Array;
}

/** One use of a session in one command. */
export interface SessionUse {
  readonly attributes: number;
  readonly authValue: Uint8Array;
  /** The TPM forgets the session when the command succeeds. */
  readonly last: boolean;
}

/** Authorization values count without trailing zeros (Part 1, section 19.6.4.3). */
function withoutTrailingZeros(value: Uint8Array): Uint8Array {
  let length = value.length;
  while (length > 0 && value[length - 1] === 0) length--;
  return value.subarray(0, length);
}

export class Session {
  readonly kind: SessionKind;
  readonly handle: number;
  private readonly key: Uint8Array;
  private nonceCaller: Uint8Array;
  private nonceTpm: Uint8Array;
  /** Whether the policy so far asks for the authorization value of what it is used on (PolicyAuthValue). */
  private policyNeedsAuthValue = false;
  private begun = false;
  private over = false;

  constructor({ kind, handle, nonceCaller, nonceTpm, salt }: SessionStart) {
    this.kind = kind;
    this.handle = handle;
    this.nonceCaller = nonceCaller;
    this.nonceTpm = nonceTpm;
    // Part 1, section 19.6.8; none of our sessions is bound to an entity.
    this.key =
      salt.length === 0
        ? salt
        : kdfA(sessionHash, salt, "ATH", [nonceTpm, nonceCaller], 8 * digestSizes[sessionHash]);
    salt.fill(0);
  }

  /** Whether it can encrypt parameters: an unsalted session has no secret to do so with. */
  get salted(): boolean {
    return this.key.length > 0;
  }

  /** Whether the TPM has forgotten it. */
  get ended(): boolean {
    return this.over;
  }

  get name(): Name {
    return permanentEntity(this.handle).name;
  }

  /** Whether the TPM holds a part of a policy for this session that was not used up yet. */
  get policyBegun(): boolean {
    return this.begun;
  }

  /** A policy command is about to be sent. @throws MosError `internal` when the session has ended */
  notePolicy(): void {
    if (this.over) throw new MosError("internal", "refused to satisfy a policy in a session that ended");
    this.begun = true;
  }

  /** The TPM has carried out PolicyAuthValue in this session. */
  noteAuthValuePolicy(): void {
    this.policyNeedsAuthValue = true;
  }

  /** The TPM has forgotten what was satisfied of a policy. */
  noteRestart(): void {
    this.policyNeedsAuthValue = false;
    this.begun = false;
  }

  /** Takes a new nonce for the next command. */
  roll(): void {
    this.nonceCaller = randomBytes(digestSizes[sessionHash]);
  }

  /** Our nonce of the command under way. */
  get nonce(): Uint8Array {
    return this.nonceCaller;
  }

  /** The authorization of a command with parameters of this hash. */
  prove(cpHash: Uint8Array, use: SessionUse): Uint8Array {
    return this.hmac(cpHash, this.nonceCaller, this.nonceTpm, use);
  }

  /** Takes the TPM's new nonce, and tells whether the authorization in its answer is right. */
  accept(rpHash: Uint8Array, nonceTpm: Uint8Array, received: Uint8Array, use: SessionUse): boolean {
    this.nonceTpm = nonceTpm.slice();
    const expected = this.hmac(rpHash, this.nonceTpm, this.nonceCaller, use);
    return expected.length === received.length && timingSafeEqual(expected, received);
  }

  /** A command that this session authorized has succeeded: a policy has to be satisfied anew for the next. */
  settle(use: SessionUse): void {
    this.noteRestart();
    if (use.last) this.forget();
  }

  /** The TPM no longer has it. */
  forget(): void {
    this.over = true;
    this.key.fill(0);
  }

  /** Encrypts the first parameter of a command in place. */
  encrypt(parameter: Uint8Array, authValue: Uint8Array): void {
    const { key, iv } = this.parameterKey(authValue, this.nonceCaller, this.nonceTpm);
    parameter.set(createCipheriv(sessionCipher.name, key, iv).update(parameter));
    key.fill(0);
  }

  /** Decrypts the first parameter of an answer in place; to be called after {@link accept}. */
  decrypt(parameter: Uint8Array, authValue: Uint8Array): void {
    const { key, iv } = this.parameterKey(authValue, this.nonceTpm, this.nonceCaller);
    const clear = createDecipheriv(sessionCipher.name, key, iv).update(parameter);
    parameter.set(clear);
    clear.fill(0);
    key.fill(0);
  }

  private hmac(hash: Uint8Array, newer: Uint8Array, older: Uint8Array, use: SessionUse): Uint8Array {
    const withAuthValue = this.kind === "hmac" || this.policyNeedsAuthValue;
    const authValue = withAuthValue ? withoutTrailingZeros(use.authValue) : new Uint8Array(0);
    const key = Buffer.concat([this.key, authValue]);
    // Part 1, section 19.6.5: a policy session without any secret proves nothing, and its HMAC is empty.
    if (key.length === 0 && this.kind !== "hmac") return new Uint8Array(0);
    const hmac = createHmac(sessionHash, key).update(hash).update(newer).update(older);
    key.fill(0);
    return hmac.update(Uint8Array.of(use.attributes)).digest();
  }

  /** Part 1, section 21.3. The authorization value takes part whenever the session authorizes an entity. */
  private parameterKey(authValue: Uint8Array, newer: Uint8Array, older: Uint8Array) {
    const secret = Buffer.concat([this.key, withoutTrailingZeros(authValue)]);
    const bits = sessionCipher.bits + 8 * sessionCipher.blockBytes;
    const both = kdfA(sessionHash, secret, "CFB", [newer, older], bits);
    secret.fill(0);
    return { key: both.subarray(0, sessionCipher.bits / 8), iv: both.subarray(sessionCipher.bits / 8) };
  }
}

/** How a command is authorized for one of its handles. */
export type Authorization =
  /** The authorization value is empty: there is nothing to prove, and nothing is encrypted. */
  | { readonly kind: "empty" }
  | {
      readonly kind: "session";
      readonly session: Session;
      /** Of the entity that is authorized; it never crosses the bus. */
      readonly authValue: Uint8Array;
      /** The session ends with this command; default false. */
      readonly last?: boolean;
    };

export const emptyAuthorization: Authorization = { kind: "empty" };

/** TPMA_SESSION of a use. */
export function attributesOf(last: boolean, decrypt: boolean, encrypt: boolean): number {
  return (
    (last ? 0 : sessionAttributes.continueSession) |
    (decrypt ? sessionAttributes.decrypt : 0) |
    (encrypt ? sessionAttributes.encrypt : 0)
  );
}
