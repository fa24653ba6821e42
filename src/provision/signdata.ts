// Approved policies of a keyset, as the initrd and the factory partition carry them (`/pcr7data`, the published
// system's "signdata"): for each known value of PCR 7 who it belongs to, and the signature that approves reading
// secrets under it. None of it is secret, and none is trusted: the TPM checks the signatures.
//
//   policy-N/pubkeys/{luks,tpmpass}-KEYSET.pem      keys that approve; the highest N is used
//   policy-N/XX/YY…/info.json                       XXYY… is PCR 7 in hex with the bytes of each pair swapped
//   policy-N/XX/YY…/{tpm_luks,tpm_passwd}.policy.signed
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { MosError, systemCode } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";
import { readTrusted } from "../trust/trusted-file.ts";

/** What started with this value of PCR 7; hand-made data of the published system says `password` for `tpm`. */
export type SigndataKind = "limited" | "production" | "tpm";

const infoSchema = z.object({
  key: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,39}$/),
  key_type: z.enum(["limited", "production", "tpm", "password"]),
  est_date: z.string().max(32),
  comment: z.string().max(1024).default(""),
});

/** RSA signatures of up to 4096 bits and PEM keys of as much. */
const maxFile = 4096;

export interface Signdata {
  readonly kind: SigndataKind;
  readonly keyset: string;
  /** PEM of the key that approves, and its signature over the policy digest; absent for `limited`. */
  readonly approval?: { readonly publicKeyPem: string; readonly signature: Uint8Array };
}

/** The two parts of the path for a value of PCR 7 (SHA-256 bank). */
export function signdataPath(pcr7: Uint8Array): readonly [string, string] {
  const swapped = Buffer.from(pcr7).swap16().toString("hex");
  return [swapped.slice(0, 2), swapped.slice(2)];
}

/** Files of each kind: the approval's signature and the public key it is checked with. */
export const approvals: Readonly<
  Record<SigndataKind, { readonly signature: string; readonly publicKey: string } | undefined>
> = {
  limited: undefined,
  production: { signature: "tpm_luks.policy.signed", publicKey: "luks" },
  tpm: { signature: "tpm_passwd.policy.signed", publicKey: "tpmpass" },
};

async function highestPolicy(directory: string): Promise<string> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return [];
    throw error;
  });
  const numbers = names.flatMap((name) => {
    const number = /^policy-([1-9][0-9]{0,5})$/.exec(name)?.[1];
    return number === undefined ? [] : [Number(number)];
  });
  if (numbers.length === 0) {
    throw new MosError("signdata-missing", "cannot find any approved policies for PCR 7", {
      about: directory,
    });
  }
  return join(directory, `policy-${Math.max(...numbers)}`);
}

async function readPart(path: string): Promise<Uint8Array> {
  const file = await readTrusted(path, maxFile, "signdata-invalid");
  if (file !== undefined) return file.bytes;
  throw new MosError("signdata-invalid", "cannot find a part of the approved policies", { about: path });
}

/**
 * What is known of a value of PCR 7.
 * @param directory `/pcr7data` and its like
 * @throws MosError `signdata-missing` when nobody has approved this value, `signdata-invalid`
 */
export async function readSigndata(directory: string, pcr7: Uint8Array): Promise<Signdata> {
  const policy = await highestPolicy(directory);
  const entry = join(policy, ...signdataPath(pcr7));
  const infoPath = join(entry, "info.json");
  const infoFile = await readTrusted(infoPath, maxFile, "signdata-invalid");
  if (infoFile === undefined) {
    const value = Buffer.from(pcr7).toString("hex");
    throw new MosError("signdata-missing", `cannot find an approved policy for PCR 7 = ${value}`, {
      about: entry,
    });
  }
  const info = infoSchema.safeParse(parseJson(infoFile.bytes, infoPath));
  if (!info.success) {
    throw new MosError(
      "signdata-invalid",
      `cannot read what is known of PCR 7: ${z.prettifyError(info.error)}`,
      {
        about: infoPath,
      },
    );
  }
  const { key: keyset, key_type: type } = info.data;
  const kind = type === "password" ? "tpm" : type;
  const files = approvals[kind];
  if (files === undefined) return { kind, keyset };
  const signature = await readPart(join(entry, files.signature));
  const publicKey = await readPart(join(policy, "pubkeys", `${files.publicKey}-${keyset}.pem`));
  return { kind, keyset, approval: { signature, publicKeyPem: Buffer.from(publicKey).toString("latin1") } };
}

/** The keys that approve policies, from `policy-N/pubkeys`: what provisioning puts the device's secrets behind. */
export interface PolicyKeys {
  readonly adminKeyPem: string;
  readonly systemKeyPem: string;
}

/**
 * @param keyset whose keys; undefined for the only one there is
 * @throws MosError `signdata-missing`, `signdata-invalid`
 */
export async function readPolicyKeys(directory: string, keyset: string | undefined): Promise<PolicyKeys> {
  const keys = join(await highestPolicy(directory), "pubkeys");
  const names = (await readdir(keys)).flatMap((name) => /^luks-(.+)\.pem$/.exec(name)?.[1] ?? []);
  const [only, ...others] = keyset === undefined ? names : names.filter((name) => name === keyset);
  if (only === undefined || others.length > 0) {
    throw new MosError(
      "signdata-missing",
      `cannot tell whose policies to use: there are those of ${names.join(", ") || "nobody"}`,
      {
        about: keys,
        hint: "Name the keyset with --keyset.",
      },
    );
  }
  const read = async (name: string): Promise<string> =>
    Buffer.from(await readPart(join(keys, `${name}-${only}.pem`))).toString("latin1");
  return { adminKeyPem: await read("tpmpass"), systemKeyPem: await read("luks") };
}
