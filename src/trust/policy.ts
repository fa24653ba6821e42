// The trust policy of a device: which anchors count and in which order, for which product, how many signers it
// takes, and what happens without a TPM. The first file that is there decides, and one that is broken stops
// everything: a policy is never guessed.
import * as z from "zod";
import { MosError } from "../errors/mos-error.ts";
import { classSchema, lineSchema, machineSchema } from "../manifest/names.ts";
import { parseJson } from "../system/json.ts";
import { readTrusted } from "./trusted-file.ts";

/** A 32-bit handle in the range of NV indices (TPM 2.0 Part 2 section 7.4, TPM_HT_NV_INDEX). */
const nvIndexPattern = /^tpm-nv:0x01[0-9a-f]{6}$/;

const anchorSourceSchema = z.union(
  [
    z.literal("initrd"),
    z.literal("efi-db"),
    z.templateLiteral(["tpm-nv:", z.string()]).refine((text) => nvIndexPattern.test(text)),
    z.templateLiteral(["file:", z.string()]).refine((text) => /^file:\/[^\0]*$/.test(text)),
  ],
  "must be initrd, efi-db, tpm-nv:0x01XXXXXX (lower-case hex) or file:/PATH",
);

/** A named source of trust anchors (DESIGN section 3). */
export type AnchorSource = z.infer<typeof anchorSourceSchema>;

/** How the stage in the initrd can end (src/agent/initrd-stage.ts). */
const stageOutcomes = [
  "applied",
  "unhealthy-fallback",
  "no-generation",
  "no-state",
  "refused",
  "failed",
  "interrupted",
] as const;

export type StageOutcome = (typeof stageOutcomes)[number];

export const stageOutcomeSchema = z.enum(stageOutcomes);

export const policySchema = z.strictObject({
  version: z.literal(1, "must be 1, the only version there is").describe("Version of this format."),
  anchors: z
    .array(anchorSourceSchema)
    .min(1, "must name at least one source")
    .max(16)
    .describe(
      "Where CA certificates that may vouch for manifests are looked for, in this order: `initrd` (manifestCA.pem of the initrd), `efi-db` (CA certificates in the firmware's `db`, under Secure Boot only), `tpm-nv:0x01XXXXXX` (a certificate, or the SHA-256 of a CA's public key, in a TPM NV index), `file:/PATH` (PEM).",
    ),
  product: lineSchema(255)
    .optional()
    .describe(
      "The device's product. Manifest, signing certificate and device certificate have to name it too.",
    ),
  machine: machineSchema
    .optional()
    .describe(
      "Which machine this is, for signed sets that are for one. On a device with a certificate, that says it, and has to agree.",
    ),
  classes: z
    .array(classSchema)
    .max(64)
    .refine((classes) => new Set(classes).size === classes.length, "must not name a class twice")
    .optional()
    .describe(
      "Classes that the device belongs to, from the general to the special, for signed sets that are for a class; of two sets with the same file, that of the later class wins. `[]`: none. Without it, sets for classes are refused.",
    ),
  signatures: z
    .int()
    .min(1)
    .max(16)
    .default(1)
    .describe("How many different keys have to have signed a manifest."),
  tpm: z
    .enum(["required", "optional"])
    .default("optional")
    .describe(
      "`required`: without a TPM that was provisioned for this device nothing is accepted; `optional`: what a TPM would remember is kept in a file, which somebody with the disk can change.",
    ),
  revoked: z
    .array(z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits"))
    .max(1024)
    .default([])
    .describe("SHA-256 (hex) of certificates or public keys that are not accepted anywhere in a chain."),
  bootOn: z
    .array(stageOutcomeSchema)
    .max(stageOutcomes.length)
    .refine((outcomes) => outcomes.includes("applied"), "must have `applied` among them")
    .default([...stageOutcomes])
    .describe(
      "With which outcomes of the stage in the initrd the device boots on; with any other it says why and powers off. Nothing that was not verified is started in either case.",
    ),
  signedFiles: z
    .enum(["required", "optional"])
    .default("optional")
    .describe(
      "`required`: where the initrd refuses a signed file, a signed set or an app, or does not find the device's state, the device says why and powers off; `optional`: it boots on without what was refused.",
    ),
});

export type PolicyDocument = z.output<typeof policySchema>;

export interface Policy extends PolicyDocument {
  /** Where it is from: a path, or `built in`. */
  readonly source: string;
}

/** What holds on a device without a policy file. */
export const builtInPolicy: Policy = {
  source: "built in",
  version: 1,
  // Its own place first, then the one where the published system puts the file from its initrd.
  anchors: ["initrd", "file:/etc/mos/manifestCA.pem", "file:/factory/secure/manifestCA.pem"],
  signatures: 1,
  tpm: "optional",
  revoked: [],
  bootOn: [...stageOutcomes],
  signedFiles: "optional",
};

const maxPolicySize = 256 * 1024;

function readPolicy(bytes: Uint8Array, path: string): Policy {
  const result = policySchema.safeParse(parsePolicyJson(bytes, path));
  if (result.success) return { ...result.data, source: path };
  const problems = result.error.issues.map((issue) =>
    issue.code === "unrecognized_keys"
      ? `${issue.keys.join(", ")}: unknown key`
      : `${issue.path.join(".") || "document"}: ${issue.message}`,
  );
  throw new MosError("policy-invalid", `cannot use the trust policy: ${problems[0]}`, {
    about: path,
    problems,
  });
}

function parsePolicyJson(bytes: Uint8Array, path: string): unknown {
  try {
    return parseJson(bytes, path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new MosError("policy-invalid", `cannot use the trust policy: ${why}`, {
      about: path,
      cause: error,
    });
  }
}

/**
 * The policy in the first of these files that is there, or the built-in one.
 * @throws MosError `policy-invalid`, also when others than its owner may write to the file
 */
export async function loadPolicy(paths: readonly string[], builtIn: Policy): Promise<Policy> {
  for (const path of paths) {
    const file = await readTrusted(path, maxPolicySize, "policy-invalid");
    if (file === undefined) continue;
    if (!file.isPrivate) {
      throw new MosError("policy-invalid", "cannot use a trust policy that others than root may write to", {
        about: path,
        hint: `chown root:root ${path}; chmod 644 ${path}`,
      });
    }
    return readPolicy(file.bytes, path);
  }
  return builtIn;
}
