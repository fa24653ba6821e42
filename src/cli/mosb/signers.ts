// Who signs and when, as the commands that sign are told.
import { MosError } from "../../errors/mos-error.ts";
import type { Signer } from "../../publish/sign.ts";
import { openProject } from "../../trust/keyset.ts";
import { keysetsDirectory } from "../../trust/keyset-files.ts";
import type { CliContext } from "../command.ts";

const word = (input: string): string => input;

export const signerFlags = {
  project: {
    kind: "parsed",
    parse: word,
    brief: "Who signs; once for each signer",
    placeholder: "KEYSET:PROJECT",
    variadic: true,
  },
  includeCa: {
    kind: "boolean",
    brief: "Attach the CA's certificate too, for devices whose TPM holds the hash of its key",
    optional: true,
    withNegated: false,
  },
  created: {
    kind: "parsed",
    parse: word,
    brief: "Time in the artifacts (default: SOURCE_DATE_EPOCH, or now)",
    placeholder: "TIME",
    optional: true,
  },
} as const;

/** What {@link signerFlags} makes of a command's flags. */
export interface SignerFlags {
  readonly project: readonly string[];
  readonly includeCa?: boolean;
  readonly created?: string;
}

/** @throws MosError `usage`, and what opening a project throws */
export async function openSigners(
  env: CliContext["terminal"]["env"],
  { project, includeCa }: SignerFlags,
): Promise<Signer[]> {
  if (project.length === 0) throw new MosError("usage", "cannot sign without --project KEYSET:PROJECT");
  const root = keysetsDirectory(env);
  const projects = await Promise.all(project.map((reference) => openProject(root, reference)));
  const { signerOf } = await import("../../publish/sign.ts");
  return projects.map((one) => signerOf(one, includeCa === true));
}

/** The time in the artifacts: given, or SOURCE_DATE_EPOCH (reproducible-builds.org), or now. */
export function createdTime(flag: string | undefined, epoch: string | undefined): string {
  if (flag !== undefined) {
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$/.test(flag) || Number.isNaN(Date.parse(flag))) {
      throw new MosError("usage", `cannot read ${flag} as a time: write it like 2026-01-31T12:00:00Z`);
    }
    return flag;
  }
  const at = epoch !== undefined && /^\d{1,11}$/.test(epoch) ? new Date(Number(epoch) * 1000) : new Date();
  return at.toISOString().replace(/\.\d+Z$/, "Z");
}
