// NV indices: defined, read, written in as many commands as they take, counted up, locked, removed (Part 3, section 31).
import { type Access, authorize } from "./access.ts";
import { nvBufferMax } from "./capability.ts";
import type { Command } from "./command.ts";
import { nvAttributes, nvKinds } from "./constants.ts";
import { type Hierarchy, hierarchyEntity } from "./keys.ts";
import { type Entity, nameOfNv, nvEntity, permanentEntity } from "./names.ts";
import { type NvIndex, type NvPublic, readNvPublic, writeNvPublic } from "./nv-public.ts";
import { isTpmAnswer } from "./response-code.ts";
import type { Authorization } from "./session.ts";
import type { Tpm } from "./tpm.ts";

/** By whose authorization an index is used: its own (value or policy), the owner's or the platform's. */
export interface NvAccess {
  readonly by: "index" | "owner" | "platform";
  readonly access: Access;
}

/** PC Client TPMs take at least this in one command, so that nothing needs to be asked for less. */
const surelyFits = 512;

function authorizer({ by }: NvAccess, nv: NvPublic): Entity {
  return by === "index" ? nvEntity(nv) : hierarchyEntity(by);
}

async function chunkSize(tpm: Tpm, size: number): Promise<number> {
  return size <= surelyFits ? surelyFits : await nvBufferMax(tpm);
}

/**
 * NV_DefineSpace. With an authorization value it needs a salted session.
 * @throws TpmError (`TPM_RC_NV_DEFINED`: the index is there already)
 */
export async function defineNv(
  tpm: Tpm,
  hierarchy: Extract<Hierarchy, "owner" | "platform">,
  authorization: Authorization,
  nv: NvPublic,
  authValue: Uint8Array = new Uint8Array(0),
): Promise<void> {
  const command: Command = {
    name: "TPM2_NV_DefineSpace",
    handles: [hierarchyEntity(hierarchy)],
    authorizations: [authorization],
    parameters: (writer) => writer.sized(authValue).sizedBy(() => writeNvPublic(writer, nv)),
    encryptIn: true,
    secret: authValue.length > 0,
  };
  await tpm.execute(command, () => undefined);
}

/** NV_UndefineSpace: the index and what is in it are gone. @throws TpmError */
export async function undefineNv(
  tpm: Tpm,
  hierarchy: Extract<Hierarchy, "owner" | "platform">,
  authorization: Authorization,
  nv: NvPublic,
): Promise<void> {
  const command: Command = {
    name: "TPM2_NV_UndefineSpace",
    handles: [hierarchyEntity(hierarchy), nvEntity(nv)],
    authorizations: [authorization],
  };
  await tpm.execute(command, () => undefined);
}

/** NV_ReadPublic; undefined when there is no such index. @throws TpmError */
export async function readNvPublicArea(tpm: Tpm, index: NvIndex): Promise<NvPublic | undefined> {
  const command: Command = { name: "TPM2_NV_ReadPublic", handles: [permanentEntity(index)] };
  try {
    return await tpm.execute(command, (reader) => {
      const nv = reader.sizedBy(readNvPublic);
      if (nv.index !== index || Buffer.compare(reader.sized(), nameOfNv(nv)) !== 0) {
        throw new SyntaxError("another NV index than was asked for");
      }
      return { ...nv, authPolicy: nv.authPolicy.slice() };
    });
  } catch (error) {
    if (isTpmAnswer(error, "TPM_RC_HANDLE")) return undefined;
    throw error;
  }
}

interface NvReading {
  /** Where the part begins; default 0. */
  readonly offset?: number;
  /** Bytes; default all that follow. */
  readonly size?: number;
  /** The session ends with it, which saves the command that would end it; default false. */
  readonly last?: boolean;
}

/**
 * NV_Read of the whole index or a part. What is secret must be read in a salted session.
 * @throws TpmError (`TPM_RC_NV_UNINITIALIZED`: never written; `TPM_RC_NV_LOCKED`; `TPM_RC_POLICY_FAIL`)
 */
export async function readNv(
  tpm: Tpm,
  nv: NvPublic,
  by: NvAccess,
  { offset = 0, size = nv.size - offset, last = false }: NvReading = {},
): Promise<Uint8Array> {
  const result = new Uint8Array(size);
  const most = await chunkSize(tpm, size);
  for (let at = 0; at < size || at === 0; at += most) {
    const wanted = Math.min(most, size - at);
    const command: Command = {
      name: "TPM2_NV_Read",
      handles: [authorizer(by, nv), nvEntity(nv)],
      authorizations: [await authorize(tpm, by.access, last && at + most >= size)],
      parameters: (writer) => writer.u16(wanted).u16(offset + at),
      encryptOut: true,
    };
    await tpm.execute(command, (reader) => {
      const bytes = reader.sized();
      if (bytes.length !== wanted)
        throw new SyntaxError(`${bytes.length} bytes where ${wanted} were asked for`);
      result.set(bytes, at);
    });
  }
  return result;
}

/** The public area after a write: its Name has changed when this was the first one. */
function written(nv: NvPublic): NvPublic {
  return { ...nv, attributes: (nv.attributes | nvAttributes.written) >>> 0 };
}

/**
 * NV_Write. When it fails in the middle of a large index, the first chunks are written: who needs all or nothing
 * writes another index and then a pointer. What is secret must be written in a salted session.
 * @returns the public area after it, to be used from then on
 * @throws TpmError (`TPM_RC_NV_RANGE`: too long; `TPM_RC_NV_LOCKED`; `TPM_RC_POLICY_FAIL`)
 */
export async function writeNv(
  tpm: Tpm,
  nv: NvPublic,
  by: NvAccess,
  data: Uint8Array,
  offset = 0,
): Promise<NvPublic> {
  const most = await chunkSize(tpm, data.length);
  let current = nv;
  for (let at = 0; at < data.length || at === 0; at += most) {
    const chunk = data.subarray(at, at + most);
    const command: Command = {
      name: "TPM2_NV_Write",
      handles: [authorizer(by, current), nvEntity(current)],
      authorizations: [await authorize(tpm, by.access)],
      parameters: (writer) => writer.sized(chunk).u16(offset + at),
      encryptIn: true,
    };
    await tpm.execute(command, () => undefined);
    current = written(current);
  }
  return current;
}

/** A command that only names the index. */
async function onIndex(tpm: Tpm, name: Command["name"], nv: NvPublic, by: NvAccess): Promise<void> {
  const command: Command = {
    name,
    handles: [authorizer(by, nv), nvEntity(nv)],
    authorizations: [await authorize(tpm, by.access)],
  };
  await tpm.execute(command, () => undefined);
}

/** NV_Increment of a counter. @returns the public area after it @throws TpmError */
export async function incrementNv(tpm: Tpm, nv: NvPublic, by: NvAccess): Promise<NvPublic> {
  await onIndex(tpm, "TPM2_NV_Increment", nv, by);
  return written(nv);
}

/** NV_Extend of an index that is extended as a PCR is. @returns the public area after it @throws TpmError */
export async function extendNv(tpm: Tpm, nv: NvPublic, by: NvAccess, data: Uint8Array): Promise<NvPublic> {
  const command: Command = {
    name: "TPM2_NV_Extend",
    handles: [authorizer(by, nv), nvEntity(nv)],
    authorizations: [await authorize(tpm, by.access)],
    parameters: (writer) => writer.sized(data),
    encryptIn: true,
  };
  await tpm.execute(command, () => undefined);
  return written(nv);
}

/** NV_ReadLock: cannot be read until the TPM starts again. @returns the public area after it @throws TpmError */
export async function lockNvReading(tpm: Tpm, nv: NvPublic, by: NvAccess): Promise<NvPublic> {
  await onIndex(tpm, "TPM2_NV_ReadLock", nv, by);
  return { ...nv, attributes: (nv.attributes | nvAttributes.readLocked) >>> 0 };
}

/**
 * NV_WriteLock: cannot be written until the TPM starts again (TPMA_NV_WRITE_STCLEAR) or for ever (TPMA_NV_WRITEDEFINE).
 * @returns the public area after it
 * @throws TpmError
 */
export async function lockNvWriting(tpm: Tpm, nv: NvPublic, by: NvAccess): Promise<NvPublic> {
  await onIndex(tpm, "TPM2_NV_WriteLock", nv, by);
  return { ...nv, attributes: (nv.attributes | nvAttributes.writeLocked) >>> 0 };
}

/** The value of a counter, which is 8 bytes. @throws as readNv() */
export async function readNvCounter(tpm: Tpm, nv: NvPublic, by: NvAccess): Promise<bigint> {
  const bytes = await readNv(tpm, nv, by, { size: 8 });
  return Buffer.from(bytes).readBigUInt64BE();
}

/** A counter (TPM_NT_COUNTER) that the owner counts up and everybody may read; it survives as long as the owner. */
export const counterAttributes =
  nvKinds.counter | nvAttributes.ownerWrite | nvAttributes.ownerRead | nvAttributes.authRead;
