// trust keyset pcr7data and trust tpm-policy-gen: what a keyset approves for the values of PCR 7 that its three UKIs
// lead to, in the layout that signdata.ts reads.
import { join } from "node:path";
import { MosError } from "../errors/mos-error.ts";
import { makeDirectory, writeFileAtomic } from "../system/atomic-file.ts";
import { digestOfPolicy } from "../tpm/policy.ts";
import { keysetPath, readPair } from "../trust/keyset-files.ts";
import { signBytes } from "../trust/signature.ts";
import { passwordPolicy, systemPolicy } from "./policies.ts";
import { approvals, type SigndataKind, signdataPath } from "./signdata.ts";

/** The directory whose approvals are written; devices use the highest there is. */
const policyDirectory = "policy-2";

/** Which key of the keyset approves, for which kind. */
const approvers = { production: "tpmpol-luks", tpm: "tpmpol-admin" } as const;

export interface NewSigndata {
  /** The directory of all keysets. */
  readonly root: string;
  readonly keyset: string;
  /** PCR 7 (SHA-256) after the start of each UKI, 32 bytes each. */
  readonly pcr7: Readonly<Record<SigndataKind, Uint8Array>>;
  /** Of the firmware, for people. */
  readonly comment: string;
  /** YYYYMMDD. */
  readonly date: string;
  /** Digests to approve instead of those that are computed from PCR 7. */
  readonly policies?: { readonly production?: Uint8Array; readonly tpm?: Uint8Array };
}

/** A value of PCR 7 from a file. @throws MosError `file-unreadable` when it is not 32 bytes */
export function checkPcrValue(bytes: Uint8Array, path: string): Uint8Array {
  if (bytes.length === 32) return bytes;
  throw new MosError(
    "file-unreadable",
    `cannot use a file of ${bytes.length} bytes as a PCR value or policy digest`,
    {
      about: path,
      hint: "It holds 32 bytes, as tpm2_pcrread -o and trust tpm-policy-gen write them.",
    },
  );
}

/** The digest that the keyset's key for this kind approves. */
export function policyDigest(kind: "production" | "tpm", pcr7: Uint8Array, version?: string): Uint8Array {
  return digestOfPolicy(kind === "production" ? systemPolicy(pcr7, version) : passwordPolicy(pcr7));
}

/**
 * Adds approvals to a keyset. What is there already for a value of PCR 7 is written again.
 * @returns the directory of the keyset's approvals
 * @throws MosError `keyset-unknown`, `key-invalid`, `file-unreadable`
 */
export async function addSigndata(input: NewSigndata): Promise<string> {
  const keyset = await keysetPath(input.root, input.keyset);
  const directory = join(keyset, "pcr7data");
  const policy = join(directory, policyDirectory);
  await makeDirectory(join(policy, "pubkeys"));
  for (const kind of ["production", "tpm"] as const) {
    const { certificate } = await readPair(join(keyset, approvers[kind]));
    const pem = certificate.publicKey.object.export({ type: "spki", format: "pem" }).toString();
    const name = `${approvals[kind]?.publicKey ?? kind}-${input.keyset}.pem`;
    await writeFileAtomic(join(policy, "pubkeys", name), pem);
  }
  for (const kind of ["production", "limited", "tpm"] as const) await addEntry(input, keyset, policy, kind);
  return directory;
}

async function addEntry(
  input: NewSigndata,
  keyset: string,
  policy: string,
  kind: SigndataKind,
): Promise<void> {
  const entry = join(policy, ...signdataPath(input.pcr7[kind]));
  await makeDirectory(entry);
  if (kind === "limited") {
    const values = { limited: input.pcr7.limited, tpm: input.pcr7.tpm, prod: input.pcr7.production };
    for (const [name, value] of Object.entries(values))
      await writeFileAtomic(join(entry, `pcr_${name}.bin`), value);
  } else {
    const digest = input.policies?.[kind] ?? policyDigest(kind, input.pcr7[kind]);
    const { key } = await readPair(join(keyset, approvers[kind]));
    await writeFileAtomic(join(entry, approvals[kind]?.signature ?? ""), signBytes(digest, key));
  }
  const info = { key: input.keyset, key_type: kind, est_date: input.date, comment: input.comment };
  // Last: an entry without it is not found.
  await writeFileAtomic(join(entry, "info.json"), `${JSON.stringify(info)}\n`);
}
