// Archives of apps as they were made for containers/validator: NAME6.tar.gz with a signature of its own, and in it
// var/quadlets, each file signed for itself, for /etc, and var/apps, which is copied to /var/apps. They have no list, so
// one is made here; what they are a release of is the number in the name, which the archive's signature covers.
import type { KeyObject } from "node:crypto";
import { lstat, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ErrorCode } from "../errors/catalogue.ts";
import { MosError } from "../errors/mos-error.ts";
import { fromText } from "../signed-files/byte-path.ts";
import type { Run } from "../signed-files/engine.ts";
import { validateFiles } from "../signed-files/validate.ts";
import type { Ledger } from "../signed-sets/ledger.ts";
import { listTree } from "../signed-sets/make-set.ts";
import { parseSetManifest, type SetManifest, writeSetManifest } from "../signed-sets/set-manifest.ts";
import { removeTree } from "../system/atomic-file.ts";

/** A set whose list was made here, in a directory. */
export interface MadeSet {
  readonly tree: string;
  readonly manifest: SetManifest;
}

/** What an archive brings: quadlets, and what they need below /var/apps. */
export interface NumberedApp {
  readonly quadlets: MadeSet;
  readonly data: MadeSet | undefined;
}

const archiveName = /^([a-z][a-z0-9_-]{0,50}?)[_-]?([1-9][0-9]{0,14})\.(?:tar|tgz|tar\.gz|tar\.zst)$/;

function unusable(archive: string, why: string): MosError {
  const hint = "An app without a list of its files is NAME6.tar.gz, with var/quadlets and var/apps in it.";
  return new MosError("app-invalid", `cannot install ${archive}: ${why}`, { about: archive, hint });
}

/** Name of the set with what is below /var/apps. */
export function dataName(name: string): string {
  return `${name}.data`;
}

/** What an archive has below /var/apps: no app of its own. */
export function isData({ name, app }: Ledger): boolean {
  return app?.unlisted === true && name.endsWith(dataName(""));
}

/** Whether a name is that of such an archive. */
export function isNumberedArchive(path: string): boolean {
  return archiveName.test(basename(path));
}

async function names(directory: string): Promise<readonly string[]> {
  return await readdir(directory).catch(() => []);
}

/** @throws MosError the first problem's code: every file has a signature that holds, and every signature a file */
function checkSignatures(tree: string, keys: readonly KeyObject[]): void {
  const problems: { code: ErrorCode; message: string }[] = [];
  const report = {
    problem: (code: ErrorCode, message: string): void => void problems.push({ code, message }),
    info: (): void => undefined,
  };
  const run: Run = { cwd: fromText("/"), strict: true, report };
  const relativeTo = fromText(tree);
  const isWell = validateFiles(run, [relativeTo], { keys, recursive: true, relativeTo, prefix: undefined });
  const [first] = problems;
  if (isWell && first === undefined) return;
  throw new MosError(
    first?.code ?? "signed-file-invalid",
    "cannot install the archive: not all its files are signed",
    {
      about: tree,
      problems: problems.slice(0, 20).map(({ message }) => message),
    },
  );
}

async function removeSignatures(tree: string): Promise<void> {
  for (const path of await readdir(tree, { recursive: true })) {
    if (path.endsWith(".sig")) await removeTree(join(tree, path));
  }
}

/** Directories that are there already keep mode and owner. */
async function asTheyAre(
  root: string,
  { destination, entries }: SetManifest,
): Promise<SetManifest["entries"]> {
  return await Promise.all(
    entries.map(async (entry) => {
      if (entry.type !== "directory") return entry;
      const there = await lstat(join(root, destination, entry.path)).catch(() => undefined);
      if (there?.isDirectory() !== true) return entry;
      const mode = `0${(there.mode & 0o777).toString(8).padStart(3, "0")}`;
      return { ...entry, mode, uid: there.uid, gid: there.gid };
    }),
  );
}

async function made(root: string, tree: string, description: Omit<SetManifest, "entries">): Promise<MadeSet> {
  const entries = await listTree(tree, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
  const manifest = { ...description, entries: await asTheyAre(root, { ...description, entries }) };
  return { tree, manifest: parseSetManifest(writeSetManifest(manifest)) };
}

/**
 * Makes the sets of an unpacked archive, whose signature holds.
 * @param root what destinations are below
 * @throws MosError `app-invalid`, `set-invalid`, `signed-file-unsigned`, `signed-file-invalid`
 */
export async function readNumberedApp(
  archive: string,
  tree: string,
  root: string,
  keys: readonly KeyObject[],
): Promise<NumberedApp> {
  const [, name, number] = archiveName.exec(basename(archive)) ?? [];
  if (name === undefined) throw unusable(archive, "its name does not end in a number");
  const others = [
    ...(await names(tree)).filter((one) => one !== "var"),
    ...(await names(join(tree, "var"))).filter((one) => one !== "quadlets" && one !== "apps"),
  ];
  if (others.length > 0) throw unusable(archive, `nothing says where ${others[0]} belongs`);
  const quadlets = join(tree, "var/quadlets");
  if ((await names(quadlets)).length === 0) throw unusable(archive, "there is no var/quadlets in it");
  checkSignatures(quadlets, keys);
  await removeSignatures(quadlets);
  const serial = Number(number);
  const app = { version: String(number), images: [], unlisted: true as const };
  const description = { type: "mos.signed-set", version: 1, serial, app } as const;
  const data = join(tree, "var/apps");
  const hasData = (await names(data)).length > 0;
  return {
    quadlets: await made(root, quadlets, { ...description, name, destination: "/etc" }),
    data: hasData
      ? await made(root, data, { ...description, name: dataName(name), destination: "/var/apps" })
      : undefined,
  };
}
