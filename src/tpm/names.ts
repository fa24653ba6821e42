// Names: what the TPM authorizes is named by a hash of its public area, so that nobody can put another thing in its
// place (Part 1, section 16).
import { encode } from "./buffer.ts";
import { algorithms } from "./constants.ts";
import { digest } from "./hashes.ts";
import { type NvPublic, writeNvPublic } from "./nv-public.ts";
import { type Public, writePublic } from "./public.ts";

/** The Name of an object, an NV index, or a handle that has no public area. */
export type Name = Uint8Array & { readonly brand: "Name" };

function asName(bytes: Uint8Array): Name {
  // Where Names are made.
  return bytes as Name;
}

/** Something in the TPM that commands work on. */
export interface Entity {
  readonly handle: number;
  readonly name: Name;
}

/** The Name of an object with this public area: its hash algorithm and hash. */
export function nameOfPublic(value: Public): Name {
  const area = encode((writer) => writePublic(writer, value));
  return asName(encode((w) => w.u16(algorithms[value.nameHash]).raw(digest(value.nameHash, area))));
}

/**
 * The Name of an NV index with this public area. It changes with the attributes: TPMA_NV_WRITTEN at the first write,
 * and the locks.
 */
export function nameOfNv(value: NvPublic): Name {
  const area = encode((writer) => writeNvPublic(writer, value));
  return asName(encode((w) => w.u16(algorithms[value.nameHash]).raw(digest(value.nameHash, area))));
}

/** PCRs, hierarchies and sessions, whose handle is their Name. */
export function permanentEntity(handle: number): Entity {
  return { handle, name: asName(encode((writer) => writer.u32(handle))) };
}

export function nvEntity(value: NvPublic): Entity {
  return { handle: value.index, name: nameOfNv(value) };
}

/** An object by the handle that the TPM gave it. */
export function objectEntity(handle: number, value: Public): Entity {
  return { handle, name: nameOfPublic(value) };
}
