// Credentials that other tools stored: the auth.json of containers (containers-auth.json(5)) and Docker's
// config.json. mos keeps none of its own; `skopeo login` and `podman login` write what is read here.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { asMosError, MosError, systemCode } from "../errors/mos-error.ts";
import { parseJson } from "../system/json.ts";

export interface Credential {
  readonly user: string;
  readonly password: string;
  /** A token to exchange for others, which some registries give at log-in instead of a password. */
  readonly identityToken?: string;
}

/** Other fields (credsStore, credHelpers, …) are for other tools; programs that hold secrets are not run. */
const fileSchema = z.object({
  auths: z
    .record(z.string(), z.object({ auth: z.string().optional(), identitytoken: z.string().optional() }))
    .optional(),
});

type Entries = ReadonlyMap<
  string,
  { readonly auth?: string | undefined; readonly identitytoken?: string | undefined }
>;

/**
 * The files that may hold credentials, in the order they are looked at. A file that is named on purpose is the
 * only one.
 */
export function credentialFiles(
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const named = environment["REGISTRY_AUTH_FILE"];
  if (named !== undefined && named !== "") return [named];
  const runtime = environment["XDG_RUNTIME_DIR"];
  const home = environment["HOME"];
  return [
    ...(runtime === undefined || runtime === "" ? [] : [join(runtime, "containers/auth.json")]),
    ...(home === undefined || home === ""
      ? []
      : [join(home, ".config/containers/auth.json"), join(home, ".docker/config.json")]),
  ];
}

/** Docker writes some keys as URLs, `https://host/v1/`; what is meant is the host. */
function normalizeKey(key: string): string {
  return key.replace(/^https?:\/\//, "").replace(/\/(?:v[12]\/?)?$/, "");
}

function parseFile(bytes: Uint8Array, path: string): Entries {
  const result = fileSchema.safeParse(parseJson(bytes, path));
  if (!result.success) {
    throw new MosError("file-unreadable", `cannot read the credentials in ${path}: it is not an auth.json`, {
      about: path,
      hint: "Write it anew with skopeo login.",
    });
  }
  return new Map(Object.entries(result.data.auths ?? {}).map(([key, value]) => [normalizeKey(key), value]));
}

/** Keys to look for, the most specific first: `host/a/b`, `host/a`, `host` (containers-auth.json(5)). */
function keysFor(authority: string, repository: string): readonly string[] {
  const keys: string[] = [];
  for (let key = `${authority}/${repository}`; ; key = key.slice(0, key.lastIndexOf("/"))) {
    keys.push(key);
    if (!key.includes("/")) return keys;
  }
}

function decode(auth: string, path: string): { readonly user: string; readonly password: string } {
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none may get into a header
  if (colon < 1 || /[\u0000-\u001f\u007f]/.test(text.replace(/\0+$/, ""))) {
    throw new MosError("file-unreadable", `cannot use the credentials in ${path}: an entry is malformed`, {
      about: path,
      hint: "Write it anew with skopeo login.",
    });
  }
  // Docker pads the text with NUL characters in some versions.
  return { user: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
}

/**
 * The credential for a repository, from the first file that has one; undefined when none has.
 * @throws MosError `file-unreadable` when a file is malformed, `permission-denied`
 */
export async function findCredential(
  files: readonly string[],
  authority: string,
  repository: string,
): Promise<Credential | undefined> {
  for (const path of files) {
    const bytes = await readFile(path).catch((error: unknown) => {
      if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
      throw asMosError(error, path);
    });
    if (bytes === undefined) continue;
    const entries = parseFile(bytes, path);
    for (const key of keysFor(authority, repository)) {
      const entry = entries.get(key);
      if (entry === undefined) continue;
      const { auth = "", identitytoken } = entry;
      const token =
        identitytoken === undefined || identitytoken === "" ? {} : { identityToken: identitytoken };
      if (auth !== "") return { ...decode(auth, path), ...token };
      if ("identityToken" in token) return { user: "", password: "", ...token };
    }
  }
  return undefined;
}
