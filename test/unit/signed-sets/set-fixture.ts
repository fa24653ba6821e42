// Sets in a directory, and a place to install them in.
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmod, lstat, mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { asMosError } from "../../../src/errors/mos-error.ts";
import type { Audience } from "../../../src/signed-sets/audience.ts";
import type { InstalledSet, SetPlaces } from "../../../src/signed-sets/bring.ts";
import { installSet } from "../../../src/signed-sets/install-set.ts";
import { makeSet } from "../../../src/signed-sets/make-set.ts";
import { temporaryDirectory } from "../../support.ts";

export type Files = Readonly<Record<string, string | { readonly to: string }>>;

const { publicKey, privateKey } = generateKeyPairSync("ed25519");
export const keys: readonly KeyObject[] = [publicKey];

/** Who runs the test owns what is installed: only root could give it to others. */
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

export async function put(directory: string, files: Files): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    if (typeof content === "string") await writeFile(join(directory, name), content);
    else await symlink(content.to, join(directory, name));
  }
}

/** Text of files, `-> target` of links, `/` of directories. */
export async function treeOf(directory: string): Promise<Readonly<Record<string, string>>> {
  const found: [string, string][] = [];
  const visit = async (below: string): Promise<void> => {
    for (const name of (await readdir(join(directory, below)).catch(() => [])).sort()) {
      const path = join(below, name);
      const at = join(directory, path);
      const stat = await lstat(at);
      if (stat.isSymbolicLink()) found.push([path, `-> ${await readlink(at)}`]);
      else found.push([path, stat.isDirectory() ? "/" : await readFile(at, "utf8")]);
      if (stat.isDirectory()) await visit(path);
    }
  };
  await visit("");
  return Object.fromEntries(found.sort());
}

/** Makes a signed set in a directory that is replaced. */
export async function makeTree(
  tree: string,
  files: Files,
  serial: number,
  {
    name = "quadlets",
    destination = "/etc/quadlets",
    key = privateKey,
    audience,
  }: { name?: string; destination?: string; key?: KeyObject; audience?: Audience } = {},
): Promise<void> {
  await rm(tree, { recursive: true, force: true });
  await mkdir(tree, { recursive: true });
  await put(tree, files);
  for (const path of await readdir(tree, { recursive: true })) {
    const stat = await lstat(join(tree, path));
    if (!stat.isSymbolicLink()) await chmod(join(tree, path), stat.isDirectory() ? 0o755 : 0o644);
  }
  const level = audience === undefined ? {} : { for: audience };
  await makeSet(tree, { name, serial, destination, ...level, ...owner }, key);
}

export interface SetPlace extends SetPlaces {
  readonly path: (name: string) => string;
  /** Makes a set in `set`, installs it, and gives what came of it. */
  readonly install: (files: Files, serial: number) => Promise<InstalledSet>;
  /** Installs what is in a directory. */
  readonly again: (tree?: string, force?: boolean) => Promise<InstalledSet>;
  /** The code of the error with which installing what is in `set` ends. */
  readonly refusal: (tree?: string) => Promise<string>;
  readonly installed: () => Promise<Readonly<Record<string, string>>>;
}

export async function setPlace(): Promise<SetPlace> {
  const directory = await temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  const places = { root: path("root"), state: path("state") };
  await mkdir(places.root);
  const again = (tree = "set", force = false) => installSet(places, path(tree), keys, { force });
  return {
    ...places,
    path,
    again,
    install: async (files, serial) => {
      await makeTree(path("set"), files, serial);
      return await again();
    },
    refusal: async (tree) => {
      const { code } = await again(tree).then(
        () => ({ code: "installed" }),
        (error: unknown) => asMosError(error),
      );
      return code;
    },
    installed: () => treeOf(path("root/etc/quadlets")),
  };
}
