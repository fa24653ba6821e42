// Keys and sealed data in the TPM: made, loaded, read, made persistent, opened, and let go of.
import { encode, type Reader, type Writer } from "./buffer.ts";
import type { Command } from "./command.ts";
import { permanent, structureTags } from "./constants.ts";
import { type Entity, nameOfPublic, objectEntity, permanentEntity } from "./names.ts";
import { type Public, readPublic as readPublicArea, writePublic } from "./public.ts";
import type { Authorization } from "./session.ts";
import type { Tpm } from "./tpm.ts";

export type Hierarchy = "owner" | "endorsement" | "platform" | "null";

export function hierarchyEntity(hierarchy: Hierarchy | "lockout"): Entity {
  return permanentEntity(permanent[hierarchy]);
}

const empty = new Uint8Array(0);

/** A key or sealed data that the TPM holds. */
export class TpmObject implements Entity, AsyncDisposable {
  readonly handle: number;
  readonly name: Entity["name"];
  readonly public: Public;
  private readonly tpm: Tpm | undefined;

  /** @param tpm that forgets the object when it is disposed of; undefined for a persistent one */
  constructor(handle: number, area: Public, tpm: Tpm | undefined) {
    const entity = objectEntity(handle, area);
    this.handle = entity.handle;
    this.name = entity.name;
    this.public = area;
    this.tpm = tpm;
  }

  /** Makes the TPM forget the object. What goes wrong is of no interest: the error before it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.tpm !== undefined) await flushQuietly(this.tpm, this.handle);
  }
}

/** FlushContext: makes the TPM forget a transient object or a session. An error would only hide the one before it. */
export async function flushQuietly(tpm: Tpm, handle: number): Promise<void> {
  // The handle is a parameter here, not in the handle area (Part 3, section 28.4).
  const command: Command = { name: "TPM2_FlushContext", parameters: (writer) => writer.u32(handle) };
  await tpm.execute(command, () => undefined).catch(() => undefined);
}

interface Sensitive {
  /** Authorization value of the new object; default empty. */
  readonly authValue?: Uint8Array;
  /** What is sealed; default nothing. */
  readonly data?: Uint8Array;
}

/** TPM2B_SENSITIVE_CREATE, TPM2B_PUBLIC, no outside information, no creation PCRs. */
function writeCreation(writer: Writer, area: Public, { authValue = empty, data = empty }: Sensitive): void {
  writer.sizedBy(() => writer.sized(authValue).sized(data));
  writer.sizedBy(() => writePublic(writer, area));
  writer.sized(empty).u32(0);
}

/** Creation data, creation hash and creation ticket, of which we keep nothing. */
function skipCreation(reader: Reader): void {
  reader.sized();
  reader.sized();
  if (reader.u16() !== structureTags.creation) throw new SyntaxError("not a creation ticket");
  reader.u32();
  reader.sized();
}

/** The public area of a new object must be the one that was asked for, apart from what the TPM fills in. */
function sameTemplate(asked: Public, got: Public): boolean {
  const bare = (area: Public): Uint8Array =>
    nameOfPublic(
      area.type === "rsa"
        ? { ...area, modulus: empty }
        : area.type === "ecc"
          ? { ...area, x: empty, y: empty }
          : { ...area, unique: empty },
    );
  return Buffer.compare(bare(asked), bare(got)) === 0;
}

function readNewPublic(reader: Reader, asked: Public): Public {
  const area = reader.sizedBy(readPublicArea);
  if (!sameTemplate(asked, area)) throw new SyntaxError("another kind of object than was asked for");
  return area;
}

function checkName(reader: Reader, area: Public): void {
  const name = reader.sized();
  if (Buffer.compare(name, nameOfPublic(area)) !== 0)
    throw new SyntaxError("a Name that is not the object's");
}

/** CreatePrimary: a key that is derived from a hierarchy's seed and a template. @throws TpmError */
export async function createPrimary(
  tpm: Tpm,
  hierarchy: Hierarchy,
  authorization: Authorization,
  template: Public,
): Promise<TpmObject> {
  const command: Command = {
    name: "TPM2_CreatePrimary",
    handles: [hierarchyEntity(hierarchy)],
    authorizations: [authorization],
    parameters: (writer) => writeCreation(writer, template, {}),
    returnsHandle: true,
    encryptIn: true,
    encryptOut: false,
  };
  return await tpm.execute(command, (reader, handle) => {
    const area = readNewPublic(reader, template);
    skipCreation(reader);
    checkName(reader, area);
    return new TpmObject(handle, area, tpm);
  });
}

/** An object outside the TPM: only under its parent can it come back. */
export interface ObjectBlob {
  readonly public: Public;
  /** The contents of a TPM2B_PRIVATE. */
  readonly private: Uint8Array;
}

/**
 * Create: an object under a parent key. Needs a salted session, because it sends secrets.
 * @throws TpmError
 */
export async function create(
  tpm: Tpm,
  parent: Entity,
  authorization: Authorization,
  template: Public,
  sensitive: Sensitive,
): Promise<ObjectBlob> {
  const command: Command = {
    name: "TPM2_Create",
    handles: [parent],
    authorizations: [authorization],
    parameters: (writer) => writeCreation(writer, template, sensitive),
    encryptIn: true,
    secret: true,
  };
  return await tpm.execute(command, (reader) => {
    const blob = reader.sized().slice();
    const area = readNewPublic(reader, template);
    skipCreation(reader);
    return { public: area, private: blob };
  });
}

/** Load: brings an object back under its parent. @throws TpmError (`TPM_RC_INTEGRITY`: not of this parent, or altered) */
export async function load(
  tpm: Tpm,
  parent: Entity,
  authorization: Authorization,
  blob: ObjectBlob,
): Promise<TpmObject> {
  const command: Command = {
    name: "TPM2_Load",
    handles: [parent],
    authorizations: [authorization],
    parameters: (writer) => writer.sized(blob.private).sizedBy(() => writePublic(writer, blob.public)),
    returnsHandle: true,
    encryptIn: true,
  };
  return await tpm.execute(command, (reader, handle) => {
    checkName(reader, blob.public);
    return new TpmObject(handle, blob.public, tpm);
  });
}

/** LoadExternal: a public key that signatures are checked with. @throws TpmError */
export async function loadExternal(tpm: Tpm, area: Public, hierarchy: Hierarchy): Promise<TpmObject> {
  const command: Command = {
    name: "TPM2_LoadExternal",
    parameters: (writer) =>
      writer
        .sized(empty)
        .sizedBy(() => writePublic(writer, area))
        .u32(permanent[hierarchy]),
    returnsHandle: true,
  };
  return await tpm.execute(command, (reader, handle) => {
    checkName(reader, area);
    return new TpmObject(handle, area, tpm);
  });
}

/**
 * ReadPublic of a persistent object.
 * @throws TpmError (`TPM_RC_HANDLE`: there is none)
 */
export async function readPersistent(tpm: Tpm, handle: number): Promise<TpmObject> {
  const command: Command = {
    name: "TPM2_ReadPublic",
    handles: [permanentEntity(handle)],
  };
  return await tpm.execute(command, (reader) => {
    const area = reader.sizedBy(readPublicArea);
    checkName(reader, area);
    // The qualified Name.
    reader.sized();
    return new TpmObject(handle, area, undefined);
  });
}

/**
 * Unseal: the sealed data. Needs a salted session.
 * @throws TpmError (`TPM_RC_POLICY_FAIL`: the policy is not satisfied)
 */
export async function unsealObject(
  tpm: Tpm,
  object: Entity,
  authorization: Authorization,
): Promise<Uint8Array> {
  const command: Command = {
    name: "TPM2_Unseal",
    handles: [object],
    authorizations: [authorization],
    encryptOut: true,
    secret: true,
  };
  return await tpm.execute(command, (reader) => reader.sized().slice());
}

/**
 * EvictControl: makes a transient object persistent at a handle (0x81000000 to 0x817fffff for the owner), or removes
 * the persistent object with that handle.
 * @throws TpmError
 */
export async function evictControl(
  tpm: Tpm,
  authorization: Authorization,
  object: Entity,
  persistent: number,
): Promise<void> {
  const command: Command = {
    name: "TPM2_EvictControl",
    handles: [hierarchyEntity("owner"), object],
    authorizations: [authorization],
    parameters: (writer) => writer.u32(persistent),
  };
  await tpm.execute(command, () => undefined);
}

/** VerifySignature's proof that the TPM has checked a signature. */
export type VerifiedTicket = Uint8Array & { readonly brand: "VerifiedTicket" };

/** Reads a TPMT_TK_VERIFIED (Part 2, section 10.6.5) and keeps its bytes. */
export function readVerifiedTicket(reader: Reader): VerifiedTicket {
  const tag = reader.u16();
  if (tag !== structureTags.verified) throw new SyntaxError("not a ticket of a verified signature");
  const hierarchy = reader.u32();
  const proof = reader.sized(64);
  return encode((writer) => writer.u16(tag).u32(hierarchy).sized(proof)) as VerifiedTicket;
}
