// Everything that is in a tree on this machine, as far as a layer can hold it: owners, modes, extended attributes, links,
// devices and the digests of contents, not times. tar reads it, because Node cannot read extended attributes.
import { createHash } from "node:crypto";
import { type LayerMember, readLayerTar } from "../archives/layer-tar.ts";
import { asMosError, MosError } from "../errors/mos-error.ts";
import { runPiped } from "../system/process.ts";

/** What tar has to keep, of a tree that is read or written. */
export const treeArguments = ["--format=posix", "--numeric-owner", "--xattrs", "--xattrs-include=*"] as const;

/** What is at one path. */
export interface TreeEntry {
  readonly isDirectory: boolean;
  /** The same for the same thing: two trees with the same are not to be told apart here, but by their times. */
  readonly identity: string;
}

/** By path, without a slash at either end; empty for the root. */
export type TreeEntries = ReadonlyMap<string, TreeEntry>;

interface Found {
  readonly member: LayerMember;
  readonly content: string;
}

function identityOf({ member, content }: Found, names: readonly string[]): string {
  const { type, target, mode, uid, gid, major, minor, xattrs } = member;
  const attributes = [...xattrs]
    .map(([name, value]) => [name, value.toString("hex")] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([
    type,
    mode,
    uid,
    gid,
    type === "symlink" ? target : "",
    major,
    minor,
    attributes,
    content,
    names,
  ]);
}

/** Members of an archive by path; names of one file (hard links) have one identity, which says all of them. */
function entriesOf(found: ReadonlyMap<string, Found>, links: ReadonlyMap<string, string>): TreeEntries {
  const names = new Map<string, string[]>();
  for (const [path, first] of links) names.set(first, [...(names.get(first) ?? [first]), path]);
  const entries = new Map<string, TreeEntry>();
  for (const [path, one] of found) {
    const all = (names.get(path) ?? []).sort();
    const entry = { isDirectory: one.member.type === "directory", identity: identityOf(one, all) };
    entries.set(path, entry);
    for (const other of all) entries.set(other, entry);
  }
  return entries;
}

/**
 * Reads a tree. Sockets are not looked at: no layer has any.
 * @throws MosError `image-root-unusable` for a tree that could not be a layer, `program-failed`, `program-missing`
 */
export async function readTree(tree: string): Promise<TreeEntries> {
  const found = new Map<string, Found>();
  const links = new Map<string, string>();
  const archive = await runPiped("tar", ["--create", ...treeArguments, "--directory", tree, "."]);
  archive.ended.catch(() => undefined);
  try {
    await readLayerTar(
      archive.stdout,
      Number.MAX_SAFE_INTEGER,
      async (member, content) => {
        if (member.type === "hardlink") {
          links.set(member.path, member.target);
          return;
        }
        const hash = createHash("sha256");
        for await (const piece of content) hash.update(piece);
        found.set(member.path, { member, content: member.type === "file" ? hash.digest("hex") : "" });
      },
      "root",
    );
  } catch (error) {
    archive.kill();
    const { code, message, about } = asMosError(error);
    if (code !== "archive-refused") throw error;
    throw new MosError("image-root-unusable", `cannot make layers of the root: ${message}`, {
      about: about ?? tree,
      cause: error,
    });
  }
  await archive.ended;
  return entriesOf(found, links);
}
