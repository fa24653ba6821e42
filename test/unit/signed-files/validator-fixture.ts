// A directory with keys in which `validator` runs, inside this process.
import { generateKeyPairSync } from "node:crypto";
import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { main } from "../../../src/cli/validator/validator.ts";
import { temporaryDirectory } from "../../support.ts";
import { recordingTerminal } from "../cli/terminal.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly bytes: Buffer;
}

export interface Place {
  readonly path: (name: string) => string;
  readonly run: (...args: string[]) => Promise<Ran>;
  /** Files by path: text, or for a link `{ to }`. */
  readonly put: (files: Readonly<Record<string, string | Buffer | { readonly to: string }>>) => Promise<void>;
  /** What is below a directory: text of files, `-> target` of links, `/` of directories. */
  readonly tree: (name: string) => Promise<Readonly<Record<string, string>>>;
}

const keyPair = generateKeyPairSync("ed25519");
const otherPair = generateKeyPairSync("ed25519");
type Pair = {
  readonly publicKey: import("node:crypto").KeyObject;
  readonly privateKey: import("node:crypto").KeyObject;
};

export function pemFiles(prefix: string, { publicKey, privateKey }: Pair): Record<string, string> {
  return {
    [`${prefix}secret.pem`]: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    [`${prefix}public.pem`]: publicKey.export({ type: "spki", format: "pem" }).toString(),
  };
}

/** An empty place with secret.pem and public.pem, and another pair, other-secret.pem and other-public.pem. */
export async function validatorPlace(env: Record<string, string> = {}): Promise<Place> {
  const directory = await temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  const place: Place = {
    path,
    run: async (...args) => {
      const terminal = recordingTerminal(env);
      const pieces: Uint8Array[] = [];
      const surroundings = {
        terminal,
        cwd: directory,
        write: (piece: Uint8Array) => void pieces.push(piece),
      };
      const code = await main(args, "validator", surroundings);
      return { code, out: terminal.out(), err: terminal.err(), bytes: Buffer.concat(pieces) };
    },
    put: async (files) => {
      for (const [name, content] of Object.entries(files)) {
        await mkdir(dirname(path(name)), { recursive: true });
        if (typeof content === "string" || Buffer.isBuffer(content)) await writeFile(path(name), content);
        else await symlink(content.to, path(name));
      }
    },
    tree: async (name) => {
      const found: [string, string][] = [];
      const names = await readdir(path(name), { recursive: true }).catch(() => []);
      for (const below of names.sort()) {
        const at = join(path(name), below);
        const stat = await lstat(at);
        if (stat.isSymbolicLink()) found.push([below, `-> ${await readlink(at)}`]);
        else if (stat.isDirectory()) found.push([below, "/"]);
        else found.push([below, stat.isFile() ? (await readFile(at)).toString() : "?"]);
      }
      return Object.fromEntries(found);
    },
  };
  await place.put({ ...pemFiles("", keyPair), ...pemFiles("other-", otherPair) });
  return place;
}

/** What {@link signedPlace} signs. */
export const signedTree = {
  "t/a": "A",
  "t/b": { to: "a" },
  "t/d/c": "C",
  "t/d/e": { to: "c" },
  "t/.hidden": "h",
};

/** A place with a signed tree, t. */
export async function signedPlace(): Promise<Place> {
  const at = await validatorPlace();
  await at.put(signedTree);
  const { code, err } = await at.run("sign", "-r", "--key=secret.pem", "t");
  if (code !== 0) throw new Error(err);
  return at;
}
