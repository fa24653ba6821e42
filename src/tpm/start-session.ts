// Begins and ends sessions, and finds the key of the TPM that they are salted to.
import { randomBytes } from "node:crypto";
import { MosError } from "../errors/mos-error.ts";
import type { Command } from "./command.ts";
import { algorithms, permanent, sessionTypes } from "./constants.ts";
import { digestSizes } from "./hashes.ts";
import { createPrimary, flushQuietly, readPersistent, type TpmObject } from "./keys.ts";
import { type Name, permanentEntity } from "./names.ts";
import { isTpmAnswer } from "./response-code.ts";
import { makeSalt } from "./salt.ts";
import { emptyAuthorization, Session, type SessionKind, sessionCipher, sessionHash } from "./session.ts";
import { storageKeyHandle, storageKeyTemplate } from "./templates.ts";
import type { Tpm } from "./tpm.ts";

/** A session that the TPM forgets when it is disposed of, unless it has ended before. */
export class OpenSession extends Session implements AsyncDisposable {
  private readonly tpm: Tpm;

  constructor(tpm: Tpm, start: ConstructorParameters<typeof Session>[0]) {
    super(start);
    this.tpm = tpm;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return;
    this.forget();
    await flushQuietly(this.tpm, this.handle);
  }
}

/**
 * StartAuthSession.
 * @param saltKey a key of the TPM that can decrypt; without one the session encrypts nothing
 * @throws TpmError
 */
export async function startSession(tpm: Tpm, kind: SessionKind, saltKey?: TpmObject): Promise<OpenSession> {
  const nonceCaller = randomBytes(digestSizes[sessionHash]);
  const none = new Uint8Array(0);
  const salt = saltKey === undefined ? { secret: none, encrypted: none } : makeSalt(saltKey.public);
  const nothing = permanentEntity(permanent.null);
  const command: Command = {
    name: "TPM2_StartAuthSession",
    // The second handle would be the entity that the session is bound to.
    handles: [saltKey ?? nothing, nothing],
    parameters: (writer) => {
      writer.sized(nonceCaller).sized(salt.encrypted).u8(sessionTypes[kind]);
      writer.u16(algorithms.aes).u16(sessionCipher.bits).u16(algorithms.cfb).u16(algorithms[sessionHash]);
    },
    returnsHandle: true,
  };
  return await tpm.execute(command, (reader, handle) => {
    const nonceTpm = reader.sized(64).slice();
    return new OpenSession(tpm, { kind, handle, nonceCaller, nonceTpm, salt: salt.secret });
  });
}

/**
 * The storage root key: the persistent one at 0x81000001 when there is one, else a transient one that is derived by the
 * same template, which is the same key. Needs the owner's authorization to be empty in the second case.
 * @param expected its Name when the device was provisioned
 * @throws MosError `tpm-changed` when it has another Name; TpmError
 */
export async function openStorageKey(tpm: Tpm, expected?: Name): Promise<TpmObject> {
  const key = await persistentOrDerived(tpm);
  if (expected !== undefined && Buffer.compare(expected, key.name) !== 0) {
    await key[Symbol.asyncDispose]();
    throw new MosError("tpm-changed", "cannot use this TPM: its storage root key is another one", {
      about: Buffer.from(key.name).toString("hex"),
    });
  }
  return key;
}

async function persistentOrDerived(tpm: Tpm): Promise<TpmObject> {
  try {
    return await readPersistent(tpm, storageKeyHandle);
  } catch (error) {
    if (!isTpmAnswer(error, "TPM_RC_HANDLE")) throw error;
    return await createPrimary(tpm, "owner", emptyAuthorization, storageKeyTemplate);
  }
}
