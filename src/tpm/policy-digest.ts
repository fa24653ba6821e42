// What a policy comes to, computed without a TPM (Part 3, sections 23.4 to 23.21, "policyDigest"). SHA-256 throughout.
import { encode } from "./buffer.ts";
import { type CommandName, commands, type Operation, operations } from "./constants.ts";
import { digest } from "./hashes.ts";
import type { Name } from "./names.ts";
import { type PcrSelection, writePcrSelections } from "./pcr-selection.ts";

/** The digest of a policy, or of its steps so far. */
export type PolicyDigest = Uint8Array & { readonly brand: "PolicyDigest" };

/** Size of a policy digest, bytes. */
const size = 32;

function extend(previous: Uint8Array, ...pieces: readonly Uint8Array[]): PolicyDigest {
  // Where policy digests are made.
  return digest("sha256", previous, ...pieces) as PolicyDigest;
}

function code(command: CommandName): Uint8Array {
  return encode((writer) => writer.u32(commands[command]));
}

/** What a policy without steps comes to. */
export const emptyPolicy = new Uint8Array(size) as PolicyDigest;

/** A policy digest that came from outside. @throws SyntaxError when it has not 32 bytes */
export function policyDigestOf(bytes: Uint8Array): PolicyDigest {
  if (bytes.length !== size) throw new SyntaxError(`a policy digest of ${bytes.length} bytes`);
  return bytes as PolicyDigest;
}

/** PolicyPCR. @param pcrDigest over the values, see digestOfPcrs() */
export function policyPcr(
  previous: PolicyDigest,
  selection: PcrSelection,
  pcrDigest: Uint8Array,
): PolicyDigest {
  const selected = encode((writer) => writePcrSelections(writer, [selection]));
  return extend(previous, code("TPM2_PolicyPCR"), selected, pcrDigest);
}

export interface NvComparison {
  readonly operand: Uint8Array;
  /** Where in the index the compared bytes begin. */
  readonly offset: number;
  readonly operation: Operation;
}

/** PolicyNV. @param name of the index as it will be when the policy is used: written, that is */
export function policyNv(previous: PolicyDigest, name: Name, comparison: NvComparison): PolicyDigest {
  const { operand, offset, operation } = comparison;
  const numbers = encode((writer) => writer.u16(offset).u16(operations[operation]));
  return extend(previous, code("TPM2_PolicyNV"), digest("sha256", operand, numbers), name);
}

/** Steps that hold an entity and a policyRef: the digest is extended twice (Part 3, section 23.2.3). */
function policyUpdate(
  previous: PolicyDigest,
  command: CommandName,
  name: Name,
  reference: Uint8Array,
): PolicyDigest {
  return extend(extend(previous, code(command), name), reference);
}

/** PolicyAuthorize: forgets what came before, which the key approved. */
export function policyAuthorize(key: Name, reference: Uint8Array): PolicyDigest {
  return policyUpdate(emptyPolicy, "TPM2_PolicyAuthorize", key, reference);
}

/** PolicySecret. */
export function policySecret(previous: PolicyDigest, entity: Name, reference: Uint8Array): PolicyDigest {
  return policyUpdate(previous, "TPM2_PolicySecret", entity, reference);
}

/** PolicyAuthValue. */
export function policyAuthValue(previous: PolicyDigest): PolicyDigest {
  return extend(previous, code("TPM2_PolicyAuthValue"));
}

/** PolicyOR of 2 to 8 digests: forgets what came before, which is in each of them. */
export function policyOr(branches: readonly PolicyDigest[]): PolicyDigest {
  if (branches.length < 2 || branches.length > 8) throw new RangeError("PolicyOR is of 2 to 8 policies");
  return extend(emptyPolicy, code("TPM2_PolicyOR"), ...branches);
}

/** PolicyCommandCode. */
export function policyCommandCode(previous: PolicyDigest, command: CommandName): PolicyDigest {
  return extend(previous, code("TPM2_PolicyCommandCode"), code(command));
}

/** PolicyNvWritten. */
export function policyNvWritten(previous: PolicyDigest, written: boolean): PolicyDigest {
  return extend(previous, code("TPM2_PolicyNvWritten"), Uint8Array.of(written ? 1 : 0));
}

/** What a key signs to approve a policy; the signature is made over these bytes with SHA-256 (Part 3, section 23.16). */
export function approvalMessage(policy: PolicyDigest, reference: Uint8Array): Uint8Array {
  return Buffer.concat([policy, reference]);
}
