// What the initrd of an image says about trust: the policy, the keyset's manifest CA, and the policies that its TPM
// keys were signed for. It is part of the signed kernel image, so nobody else can say it.
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { formatProblem, problemsOf } from "../manifest/install-json.ts";
import { type Json, parseJson } from "../system/json.ts";
import { readPart } from "../trust/keyset-files.ts";
import { policySchema } from "../trust/policy.ts";
import type { InitrdFile } from "./cpio.ts";

/** In the initrd; its script passes it on to the system (initrd-hooks/dracut/60mos). */
const place = "etc/mos/initrd";

const file = (path: string, content: string | Uint8Array): InitrdFile => ({
  path: `${place}/${path}`,
  mode: 0o644,
  content: typeof content === "string" ? Buffer.from(content) : content,
});

async function policyText(path: string | undefined, product: string): Promise<string | Uint8Array> {
  if (path === undefined) {
    const document: Json = { version: 1, anchors: ["initrd"], product };
    return JSON.stringify(document);
  }
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new MosError("file-unreadable", `cannot read the trust policy: ${asMosError(error).message}`, {
      about: path,
      cause: error,
    });
  }
  const result = policySchema.safeParse(parseJson(bytes, path));
  if (result.success) return bytes;
  const problems = problemsOf(result.error).map(formatProblem);
  throw new MosError("policy-invalid", `cannot use ${path}: ${problems[0] ?? "it does not fit"}`, {
    about: path,
    problems,
  });
}

/** All files below a directory; none when it is not there. */
async function filesBelow(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true });
    return entries.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/**
 * The files.
 * @param keyset its directory
 * @param policy a file, or undefined for the CA in the initrd as the only anchor
 * @throws MosError `file-unreadable`, `policy-invalid`, `document-invalid`
 */
export async function trustFiles(
  keyset: string,
  policy: string | undefined,
  product: string,
): Promise<readonly InitrdFile[]> {
  const approved = join(keyset, "pcr7data");
  const files = [
    file("policy.json", await policyText(policy, product)),
    file("manifestCA.pem", await readPart(join(keyset, "manifest-ca/cert.pem"))),
  ];
  for (const path of (await filesBelow(approved)).sort())
    files.push(file(`pcr7data/${relative(approved, path)}`, await readFile(path)));
  return files;
}

/**
 * The same for an installer. One that provisions is started before the TPM is provisioned: its policy cannot require
 * that, and what it installs can.
 * @param provision where the identity comes from; undefined for one that does not provision
 * @throws MosError `signdata-missing` when there is nothing to provision with
 */
export function installerFiles(
  files: readonly InitrdFile[],
  provision: string | undefined,
): readonly InitrdFile[] {
  if (provision === undefined) return files;
  if (!files.some(({ path }) => path.startsWith(`${place}/pcr7data/`))) {
    throw new MosError(
      "signdata-missing",
      "cannot build an installer that provisions: the keyset has approved no PCR 7",
      { hint: "trust keyset pcr7data; docs/how-to/provision.md says how." },
    );
  }
  return files.map((one) => {
    if (one.path !== `${place}/policy.json`) return one;
    const policy = parseJson(one.content, "policy.json");
    if (typeof policy !== "object" || policy === null || Array.isArray(policy)) return one;
    return file("policy.json", JSON.stringify({ ...policy, tpm: "optional" } satisfies Json));
  });
}
